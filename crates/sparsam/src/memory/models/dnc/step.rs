//! A step of the DNC, and its backward pass, cut by what they are about.

use super::allocation::{retain, retain_back};
use super::{Back, Dnc, Fields, Frame, FrameMut, Gradients, Scratch, WriteGradients, write, write_back};
use crate::Real;
use crate::kernels::lanes::{LANES, Lanes};
use crate::kernels::simd::{InstructionSet, vector_fn};
use crate::kernels::vector::dot;
use crate::memory::dense::{Layout, Link, LinkGradients, follow_links, follow_links_back, products, spread};
use crate::memory::gates::Gates;
use crate::memory::sharpen::{sharpen, sharpen_back};
use crate::memory::softmax::softmax_back;

vector_fn! {
    /// Writes, then reads.
    pub(super) fn step<T, simd: I>(dnc: &mut Dnc<T>, interface: &[T], read: &mut [T], record: bool) {
        let (layout, fields) = (dnc.layout, dnc.fields);
        let (before, now) = dnc.frames.step(record);
        let mut step = Step {
            layout,
            fields,
            deallocation: dnc.deallocation,
            interface,
            before: Frame::cut(layout, fields, before),
            now: FrameMut::cut(layout, fields, now),
            scratch: &mut dnc.scratch,
        };
        step.scratch.controls(fields, interface);
        step.allocate();
        step.choose_write(simd);
        step.write(simd);
        step.link();
        step.choose_reads();
        step.read(simd, read);
    }
}

vector_fn! {
    /// The backward pass of the latest step that is in force.
    pub(super) fn step_back<T, simd: I>(
        dnc: &mut Dnc<T>,
        interface: &[T],
        read_gradient: &[T],
        interface_gradient: &mut [T],
    ) {
        let (layout, fields) = (dnc.layout, dnc.fields);
        if dnc.frames.at_end() {
            dnc.gradients.start_back(layout, fields.heads);
        }
        let (before, now) = dnc.frames.step_back();
        let before = Frame::cut(layout, fields, before);
        let scratch = &mut dnc.scratch;
        scratch.controls(fields, interface);
        scratch.retention.resize(layout.blocks(), [T::ZERO; LANES]);
        retain(&scratch.free, before.read, &mut scratch.retention);
        scratch.back.clear(layout, fields);
        let mut step = StepBack {
            layout,
            fields,
            deallocation: dnc.deallocation,
            interface,
            before,
            now: Frame::cut(layout, fields, now),
            scratch,
            carried: &mut dnc.gradients,
            interface_gradient,
        };
        step.reads(simd, read_gradient);
        step.links(simd);
        step.contents(simd, read_gradient);
        step.write_weights(simd);
        step.usage(simd);
    }
}

/// A step as it is taken.
struct Step<'a, T> {
    layout: Layout,
    fields: Fields,
    deallocation: bool,
    interface: &'a [T],
    before: Frame<'a, T>,
    now: FrameMut<'a, T>,
    scratch: &'a mut Scratch<T>,
}

impl<T: Real> Step<'_, T> {
    /// Retention ψ, usage u and allocation a.
    #[inline(always)]
    fn allocate(&mut self) {
        let Self { layout, before, now, scratch, .. } = self;
        let blocks = layout.blocks();
        scratch.retention.resize(blocks, [T::ZERO; LANES]);
        retain(&scratch.free, before.read, &mut scratch.retention);
        for block in 0..blocks {
            for lane in 0..LANES {
                let (usage, write) = (before.usage[block][lane], before.write[block][lane]);
                now.usage[block][lane] = (usage + write - usage * write) * scratch.retention[block][lane];
            }
        }
        scratch.order.sort(&now.usage.as_flattened()[..layout.memory_size]);
        scratch.order.allocate(now.allocation.as_flattened_mut());
    }

    /// The write's content weights c_w, and its weights w^W.
    #[inline(always)]
    fn choose_write<I: InstructionSet>(&mut self, simd: I) {
        let Self { layout, fields, interface, before, now, scratch, .. } = self;
        let layout = *layout;
        scratch.write_addressing.start(simd, *fields, interface, fields.write_keys());
        for strip in layout.strips() {
            let contents = &before.contents[layout.contents(&strip)];
            scratch.write_addressing.strip(simd, layout, &strip, contents, now.write_content);
        }
        scratch.write_addressing.finish(layout, now.write_content);
        let gates = Gates::new(interface[fields.write_gate()], interface[fields.allocation_gate()], T::ZERO);
        for block in 0..layout.blocks() {
            for lane in 0..LANES {
                let (allocation, content) = (now.allocation[block][lane], now.write_content[block][lane]);
                let weight = gates.interpolation * allocation + (T::ONE - gates.interpolation) * content;
                now.write[block][lane] = gates.write * weight;
            }
        }
    }

    /// The memory M, and the reads' content weights c_r over it.
    #[inline(always)]
    fn write<I: InstructionSet>(&mut self, simd: I) {
        let Self { layout, fields, deallocation, interface, before, now, scratch } = self;
        let layout = *layout;
        scratch.read_addressing.start(simd, *fields, interface, fields.read_keys());
        let write_word = &interface[fields.write_word()];
        for strip in layout.strips() {
            let range = layout.contents(&strip);
            let retention = deallocation.then(|| &scratch.retention[strip.clone()]);
            let (old, new) = (&before.contents[range.clone()], &mut now.contents[range]);
            let weights = &now.write[strip.clone()];
            write(simd, fields.word_size, old, new, weights, retention, &scratch.erase, write_word);
            scratch.read_addressing.strip(simd, layout, &strip, new, now.read_content);
        }
        scratch.read_addressing.finish(layout, now.read_content);
    }

    /// The links L, followed forward and backward, and the precedence p.
    #[inline(always)]
    fn link(&mut self) {
        let Self { layout, before, now, .. } = self;
        let blocks = layout.blocks();
        let link = Link { blocks, write: now.write, precedence: before.precedence, read: before.read };
        follow_links(link, before.links, now.links, now.forward, now.backward);
        let kept = T::ONE - now.write.as_flattened().iter().copied().sum::<T>();
        for block in 0..blocks {
            for lane in 0..LANES {
                now.precedence[block][lane] = kept * before.precedence[block][lane] + now.write[block][lane];
            }
        }
    }

    /// The read weights w^R, of links and contents.
    #[inline(always)]
    fn choose_reads(&mut self) {
        let Self { layout, fields, interface, now, scratch, .. } = self;
        let blocks = layout.blocks();
        if fields.sharpened_links {
            for head in 0..fields.heads {
                let (first, words) = (head * blocks * LANES, layout.memory_size);
                let sharpness = &interface[fields.sharpness()][2 * head..];
                for (raw, sharp, sharpness) in [
                    (&*now.backward, &mut *now.sharp_backward, sharpness[0]),
                    (&*now.forward, &mut *now.sharp_forward, sharpness[1]),
                ] {
                    let sharp = &mut sharp.as_flattened_mut()[first..first + blocks * LANES];
                    sharp[words..].fill(T::ZERO);
                    sharpen(&raw.as_flattened()[first..first + words], sharpness.oneplus(), &mut sharp[..words]);
                }
            }
        }
        let (forward, backward) = if fields.sharpened_links {
            (&*now.sharp_forward, &*now.sharp_backward)
        } else {
            (&*now.forward, &*now.backward)
        };
        for (i, weights) in now.read.iter_mut().enumerate() {
            let modes = &scratch.modes[i / blocks * 3..][..3];
            for lane in 0..LANES {
                weights[lane] =
                    modes[0] * backward[i][lane] + modes[1] * now.read_content[i][lane] + modes[2] * forward[i][lane];
            }
        }
    }

    /// What is read.
    #[inline(always)]
    fn read<I: InstructionSet>(&mut self, simd: I, read: &mut [T]) {
        let Self { layout, fields, now, scratch, .. } = self;
        scratch.read.start(fields.heads, fields.word_size);
        for strip in layout.strips() {
            scratch.read.add(&now.contents[layout.contents(&strip)], &now.read[strip.start..], layout.blocks());
        }
        for (head, read) in read.chunks_exact_mut(fields.word_size).enumerate() {
            scratch.read.finish(simd, head, read);
        }
    }
}

/// The backward pass of a step. `carried` has the gradients of what passes from step to step: those of the state after the
/// step become those of the state before it.
struct StepBack<'a, T> {
    layout: Layout,
    fields: Fields,
    deallocation: bool,
    interface: &'a [T],
    before: Frame<'a, T>,
    now: Frame<'a, T>,
    scratch: &'a mut Scratch<T>,
    carried: &'a mut Gradients<T>,
    interface_gradient: &'a mut [T],
}

impl<T: Real> StepBack<'_, T> {
    /// From what was read to w^R, and from there to the modes, the links followed and the logits of c_r.
    #[inline(always)]
    fn reads<I: InstructionSet>(&mut self, simd: I, read_gradient: &[T]) {
        let Self { layout, fields, interface, now, scratch, carried, interface_gradient, .. } = self;
        let Scratch { back, modes, .. } = &mut **scratch;
        let blocks = layout.blocks();
        for strip in layout.strips() {
            let contents = &now.contents[layout.contents(&strip)];
            products(fields.word_size, contents, read_gradient, &mut back.read[strip.start..], blocks);
        }
        for (gradient, carried) in back.read.iter_mut().zip(&mut carried.read) {
            for lane in 0..LANES {
                gradient[lane] += carried[lane];
            }
            *carried = [T::ZERO; LANES];
        }
        let (forward, backward) =
            if fields.sharpened_links { (now.sharp_forward, now.sharp_backward) } else { (now.forward, now.backward) };
        for head in 0..fields.heads {
            let part = head * blocks..(head + 1) * blocks;
            let gradient = back.read[part.clone()].as_flattened();
            let modes = &modes[3 * head..][..3];
            let mut mode_gradients = [T::ZERO; 3];
            let ways = [
                (backward, &mut back.backward),
                (now.read_content, &mut back.read_content),
                (forward, &mut back.forward),
            ];
            for (mode, (weights, to)) in ways.into_iter().enumerate() {
                mode_gradients[mode] = dot(simd, weights[part.clone()].as_flattened(), gradient);
                for (to, gradient) in to[part.clone()].as_flattened_mut().iter_mut().zip(gradient) {
                    *to = modes[mode] * *gradient;
                }
            }
            softmax_back(simd, modes, &mut mode_gradients);
            interface_gradient[fields.read_modes()][3 * head..][..3].copy_from_slice(&mode_gradients);
            let of_content = back.read_content[part.clone()].as_flattened_mut();
            softmax_back(simd, now.read_content[part.clone()].as_flattened(), of_content);
            if fields.sharpened_links {
                for (place, raw, sharp, gradient) in [
                    (2 * head, now.backward, now.sharp_backward, &mut back.backward),
                    (2 * head + 1, now.forward, now.sharp_forward, &mut back.forward),
                ] {
                    let sharpness = interface[fields.sharpness()][place];
                    let over_sharpness = sharpen_back(
                        simd,
                        raw[part.clone()].as_flattened(),
                        sharpness.oneplus(),
                        sharp[part.clone()].as_flattened(),
                        gradient[part.clone()].as_flattened_mut(),
                    );
                    interface_gradient[fields.sharpness()][place] = over_sharpness * sharpness.sigmoid();
                }
            }
        }
    }

    /// From the links followed to L, and from L and p to w^W and to those before the step.
    #[inline(always)]
    fn links<I: InstructionSet>(&mut self, simd: I) {
        let Self { layout, before, now, scratch, carried, .. } = self;
        let Back { forward, backward, write, lost, .. } = &mut scratch.back;
        let over_total = dot(simd, carried.precedence.as_flattened(), before.precedence.as_flattened());
        let kept = T::ONE - now.write.as_flattened().iter().copied().sum::<T>();
        for (write, precedence) in write.iter_mut().zip(&mut carried.precedence) {
            for lane in 0..LANES {
                write[lane] = precedence[lane] - over_total;
                precedence[lane] *= kept;
            }
        }
        let blocks = layout.blocks();
        let link = Link { blocks, write: now.write, precedence: before.precedence, read: before.read };
        let gradients = LinkGradients {
            forward,
            backward,
            links: &mut carried.links,
            read: &mut carried.read,
            write,
            lost,
            precedence: &mut carried.precedence,
        };
        follow_links_back(link, before.links, gradients);
    }

    /// From what was read and the logits of c_r to M, and from M to the write and to M before the step.
    #[inline(always)]
    fn contents<I: InstructionSet>(&mut self, simd: I, read_gradient: &[T]) {
        let Self { layout, fields, deallocation, interface, before, now, scratch, carried, interface_gradient } = self;
        let Scratch { read_addressing, back, retention, erase, .. } = &mut **scratch;
        let (size, blocks) = (fields.word_size, layout.blocks());
        read_addressing.start_back(simd, *fields, interface, fields.read_keys());
        for strip in layout.strips() {
            let range = layout.contents(&strip);
            let gradient = &mut carried.contents[range.clone()];
            let logits = &mut back.read_content[strip.start..];
            read_addressing.strip_back(simd, &now.contents[range.clone()], logits, blocks, gradient);
            spread(size, gradient, &now.read[strip.start..], blocks, read_gradient);
            let retention = deallocation.then(|| &retention[strip.clone()]);
            write_back(
                simd,
                size,
                &before.contents[range],
                gradient,
                &now.write[strip.clone()],
                retention,
                erase,
                &interface[fields.write_word()],
                WriteGradients {
                    write: &mut back.write[strip.clone()],
                    retention: &mut back.retention[strip],
                    erase: &mut back.erase,
                    write_word: &mut back.write_word,
                },
            );
        }
        read_addressing.finish_back(simd, *fields, interface, fields.read_keys(), interface_gradient);
        for j in 0..size {
            let erase = erase[j];
            interface_gradient[fields.erase()][j] = simd.load(&back.erase[j]).sum() * erase * (T::ONE - erase);
            interface_gradient[fields.write_word()][j] = simd.load(&back.write_word[j]).sum();
        }
    }

    /// From w^W to the gates, the allocation and c_w, and from c_w to M before the step.
    #[inline(always)]
    fn write_weights<I: InstructionSet>(&mut self, simd: I) {
        let Self { layout, fields, interface, before, now, scratch, carried, interface_gradient, .. } = self;
        let Scratch { write_addressing, back, .. } = &mut **scratch;
        let blocks = layout.blocks();
        let gates = Gates::new(interface[fields.write_gate()], interface[fields.allocation_gate()], T::ZERO);
        let of_write = back.write.as_flattened();
        let over_allocation = dot(simd, of_write, now.allocation.as_flattened());
        let over_content = dot(simd, of_write, now.write_content.as_flattened());
        (interface_gradient[fields.write_gate()], interface_gradient[fields.allocation_gate()]) =
            gates.back(over_allocation, over_content);
        for block in 0..blocks {
            for lane in 0..LANES {
                let gradient = gates.write * back.write[block][lane];
                back.allocation[block][lane] = gradient * gates.interpolation;
                back.write_content[block][lane] = gradient * (T::ONE - gates.interpolation);
            }
        }
        softmax_back(simd, now.write_content.as_flattened(), back.write_content.as_flattened_mut());
        write_addressing.start_back(simd, *fields, interface, fields.write_keys());
        for strip in layout.strips() {
            let range = layout.contents(&strip);
            let (contents, gradient) = (&before.contents[range.clone()], &mut carried.contents[range]);
            let logits = &mut back.write_content[strip.start..];
            write_addressing.strip_back(simd, contents, logits, blocks, gradient);
        }
        write_addressing.finish_back(simd, *fields, interface, fields.write_keys(), interface_gradient);
    }

    /// From the allocation to u, and from u and ψ to the free gates and to u and w^R before the step.
    #[inline(always)]
    fn usage<I: InstructionSet>(&mut self, simd: I) {
        let Self { layout, fields, before, now, scratch, carried, interface_gradient, .. } = self;
        let Scratch { order, back, retention, free, .. } = &mut **scratch;
        order.sort(&now.usage.as_flattened()[..layout.memory_size]);
        order.allocate_back(back.allocation.as_flattened(), carried.usage.as_flattened_mut());
        for block in 0..layout.blocks() {
            for lane in 0..LANES {
                let (usage, write) = (before.usage[block][lane], before.write[block][lane]);
                let gradient = carried.usage[block][lane];
                back.retention[block][lane] += gradient * (usage + write - usage * write);
                carried.usage[block][lane] = gradient * retention[block][lane] * (T::ONE - write);
            }
        }
        for head in 0..fields.heads {
            let over_gate = retain_back(simd, free, head, before.read, &back.retention, &mut carried.read);
            interface_gradient[fields.free_gates()][head] = over_gate * free[head] * (T::ONE - free[head]);
        }
    }
}
