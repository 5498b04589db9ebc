// Reads the numbers of the page: typed arrays, one after another, compressed, as base64.

/** Stands in an array of words where there is no word. */
export const NO_WORD = 0xffffffff;

const SIZES = { f32: 4, u32: 4, u16: 2, u8: 1 };

/** The bytes that base64 text stands for, uncompressed. */
async function bytes(text) {
  const packed = atob(text);
  const compressed = new Uint8Array(packed.length);
  for (let place = 0; place < packed.length; place++) compressed[place] = packed.charCodeAt(place);
  const stream = new Blob([compressed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

/** What `from` of the type of an array does, without its iterators, which are slow with millions of numbers. */
function convert(numbers, Type, of) {
  const converted = new Type(numbers.length);
  for (let place = 0; place < numbers.length; place++) converted[place] = of(numbers[place]);
  return converted;
}

/** An array as numbers of 32 bits: those that were rounded to a byte are `least + step * byte`. */
function widen(buffer, { type, offset, length, least, step }) {
  const end = offset + length * SIZES[type];
  if (end > buffer.byteLength) throw new Error("the file was cut short");
  const part = buffer.slice(offset, end);
  switch (type) {
    case "f32":
      return new Float32Array(part);
    case "u32":
      return new Uint32Array(part);
    case "u16":
      return convert(new Uint16Array(part), Uint32Array, (word) => (word === 0xffff ? NO_WORD : word));
    case "u8":
      return convert(new Uint8Array(part), Float32Array, (byte) => least + step * byte);
    default:
      throw new Error(`numbers of type ${type} are not known`);
  }
}

/** All arrays by name, each `{ values, shape, width }`: `width` numbers for each step. */
export async function read(about, text) {
  const buffer = await bytes(text);
  const arrays = {};
  for (const description of about.arrays) {
    const { name, shape } = description;
    const length = shape.reduce((product, size) => product * size, 1);
    const width = shape.slice(1).reduce((product, size) => product * size, 1);
    arrays[name] = { values: widen(buffer, { ...description, length }), shape, width };
  }
  return arrays;
}
