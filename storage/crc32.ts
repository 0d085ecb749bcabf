const polynomial = 0xedb88320
/** x^(2^n) modulo the polynomial. */
const powers = new Int32Array(32)
powers[0] = 1 << 30
for (let n = 1; n < powers.length; n++) {
  const before = powers[n - 1] as number
  powers[n] = multiply(before, before)
}

/**
 * Computes the CRC-32 of two consecutive runs of bytes from the CRC-32 of each, like crc32_combine of zlib 1.2.12:
 * a multiplication of polynomials modulo the polynomial of the checksum.
 * @param secondBytes length of the second run, below 2^31
 */
export function combineCrc32(first: number, second: number, secondBytes: number): number {
  let shift = 1 << 31
  // A byte is x^8: the powers for whole bytes begin there.
  for (let n = 3, rest = secondBytes; rest > 0; n++, rest >>>= 1)
    if ((rest & 1) !== 0) shift = multiply(powers[n & 31] as number, shift)
  return (multiply(shift, first) ^ second) >>> 0
}

/** The product modulo the polynomial; the lowest bit holds the highest power. */
function multiply(a: number, b: number): number {
  let product = 0
  let shifted = b
  for (let bit = 31; bit >= 0; bit--) {
    if (((a >>> bit) & 1) !== 0) product ^= shifted
    shifted = (shifted & 1) === 0 ? shifted >>> 1 : (shifted >>> 1) ^ polynomial
  }
  return product
}
