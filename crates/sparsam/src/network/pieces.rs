//! Long calls in pieces, between which somebody may end them.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::Error;

/// Says whether a call goes on.
pub type Listener = Box<dyn FnMut() -> bool + Send>;

/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs all steps, or those before the listener says no, and gives how many: in one piece if nobody listens. Otherwise the
/// first piece has `unit` steps, and the others, a multiple of it, take about as long as the pause.
///
/// # Errors
/// Those of a piece.
pub fn each_piece(
    mut listener: Option<&mut Listener>,
    steps: usize,
    unit: usize,
    mut run: impl FnMut(Range<usize>) -> Result<(), Error>,
) -> Result<usize, Error> {
    let (mut done, mut length) = (0, if listener.is_some() { unit } else { steps });
    while done < steps {
        let started = Instant::now();
        let piece = done..steps.min(done.saturating_add(length));
        done = piece.end;
        run(piece)?;
        if let Some(go_on) = &mut listener
            && done < steps
            && !go_on()
        {
            break;
        }
        // One quick piece does not make the next one too long.
        let times = (PAUSE.as_secs_f64() / started.elapsed().as_secs_f64()).clamp(0.1, 64.0);
        length = ((length as f64 * times) as usize / unit * unit).max(unit);
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_the_whole_or_its_start() {
        for steps in [0, 1, 32, 33, 1000] {
            let mut seen = Vec::new();
            let mut run = |piece: Range<usize>| {
                seen.push(piece);
                Ok(())
            };
            assert_eq!(each_piece(None, steps, 1, &mut run).unwrap(), steps);
            let mut listener: Listener = Box::new(|| true);
            assert_eq!(each_piece(Some(&mut listener), steps, 32, &mut run).unwrap(), steps);
            assert_eq!(seen.iter().map(Range::len).sum::<usize>(), 2 * steps);
        }
        let mut asked = 0;
        let mut listener: Listener = Box::new(move || {
            asked += 1;
            asked < 2
        });
        let done = each_piece(Some(&mut listener), 10_000, 32, |_| Ok(())).unwrap();
        assert!(done < 10_000 && done % 32 == 0, "{done}");
    }
}
