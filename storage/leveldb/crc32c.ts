const polynomial = 0x82f63b78
const maskDelta = 0xa282ead8

/** Eight tables, which process eight bytes at a time ("slicing by 8"). */
const tables = makeTables()

function makeTables(): readonly Uint32Array[] {
  const made = Array.from({ length: 8 }, () => new Uint32Array(256))
  const [first] = made as [Uint32Array]
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ polynomial : crc >>> 1
    first[byte] = crc >>> 0
  }
  for (let n = 1; n < 8; n++) {
    const before = made[n - 1] as Uint32Array
    const table = made[n] as Uint32Array
    for (let byte = 0; byte < 256; byte++) {
      const crc = before[byte] as number
      table[byte] = ((crc >>> 8) ^ (first[crc & 0xff] as number)) >>> 0
    }
  }
  return made
}

/** CRC-32C (Castagnoli), used only by LevelDB's own files. @param from the checksum of the preceding bytes */
export function crc32c(bytes: Uint8Array, from = 0): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = tables as [
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
    Uint32Array,
  ]
  let crc = ~from
  let at = 0
  for (const end = bytes.length - 7; at < end; at += 8) {
    const b0 = (bytes[at] as number) ^ (crc & 0xff)
    const b1 = (bytes[at + 1] as number) ^ ((crc >>> 8) & 0xff)
    const b2 = (bytes[at + 2] as number) ^ ((crc >>> 16) & 0xff)
    const b3 = (bytes[at + 3] as number) ^ (crc >>> 24)
    crc =
      (t7[b0] as number) ^
      (t6[b1] as number) ^
      (t5[b2] as number) ^
      (t4[b3] as number) ^
      (t3[bytes[at + 4] as number] as number) ^
      (t2[bytes[at + 5] as number] as number) ^
      (t1[bytes[at + 6] as number] as number) ^
      (t0[bytes[at + 7] as number] as number)
  }
  for (; at < bytes.length; at++)
    crc = (crc >>> 8) ^ (t0[((crc ^ (bytes[at] as number)) & 0xff) as number] as number)
  return ~crc >>> 0
}

/** The masked form in which LevelDB stores checksums of bytes that may hold checksums (util/crc32c.h). */
export function maskedCrc32c(bytes: Uint8Array, from = 0): number {
  const crc = crc32c(bytes, from)
  return (((crc >>> 15) | (crc << 17)) + maskDelta) >>> 0
}
