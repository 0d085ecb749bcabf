/**
 * Unsigned LEB128: seven bits a byte, least significant first, the high bit set on all but the last byte (as in
 * Protocol Buffers). Values are safe integers, so at most eight bytes. Signed values go through zigzag first.
 */

/** Writes `value` (a safe integer >= 0) at `at`, which must have room; returns the position after it. */
export function writeVarint(buffer: Uint8Array, at: number, value: number): number {
  let rest = value
  while (rest > 0x7fff_ffff) {
    buffer[at++] = (rest % 0x80) | 0x80
    rest = Math.floor(rest / 0x80)
  }
  while (rest > 0x7f) {
    buffer[at++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  buffer[at++] = rest
  return at
}

/** Maps a signed safe integer (magnitude below 2^52) to an unsigned one: 0, -1, 1, -2 ... to 0, 1, 2, 3 ... */
export function zigzag(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1
}

/** The inverse of `zigzag`. */
export function unzigzag(value: number): number {
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2
}
