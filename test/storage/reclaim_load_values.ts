/** The value of `reclaim_load.fixture.ts` at an offset of the unlimited log: small or large. */
export function keptValue(offset: number): Uint8Array {
  const value = Buffer.alloc(offset % 10 === 9 ? 36_000 : 1_500, offset % 251)
  value.writeUInt32LE(offset, 0)
  return value
}
