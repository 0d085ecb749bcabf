const polynomial = 0xedb88320
/** x^(2^n) modulo the polynomial. */
const powers = new Int32Array(32)
powers[0] = 1 << 30
for (let n = 1; n < powers.length; n++) {
  const before = powers[n - 1] as number
  powers[n] = multiply(before, before)
}

/**
 * The CRC-32 of two runs of bytes one after the other, from the CRC-32 of each: as crc32_combine of zlib 1.2.12 does it,
 * by a multiplication of polynomials modulo that of the checksum.
 * @param secondBytes how long the second run is, below 2^31
 */
export function combineCrc32(first: number, second: number, secondBytes: number): number {
  let shift = 1 << 31
  // A byte is x^8, which is where the powers for whole bytes begin.
  for (let n = 3, rest = secondBytes; rest > 0; n++, rest >>>= 1)
    if ((rest & 1) !== 0) shift = multiply(powers[n & 31] as number, shift)
  return (multiply(shift, first) ^ second) >>> 0
}

/** The product modulo the polynomial; the highest power stands in the lowest bit. */
function multiply(a: number, b: number): number {
  let product = 0
  let shifted = b
  for (let bit = 31; bit >= 0; bit--) {
    if (((a >>> bit) & 1) !== 0) product ^= shifted
    shifted = (shifted & 1) === 0 ? shifted >>> 1 : (shifted >>> 1) ^ polynomial
  }
  return product
}
