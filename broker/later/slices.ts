import type { EngineEntry, RangeOptions } from '../../storage/index.js'

const entriesAtFirst = 64
const entriesMax = 512
/** Bytes that a slice aims at. */
const bytesWanted = 2 * 1024 * 1024

/**
 * Reads the entries of a range in slices: an entry can have from 50 bytes to megabytes, and a range of thousands must not
 * be in memory at once. The size of a slice follows from the entries before it. Entries that change between two slices
 * may be as before or as after.
 * @param limit of the entries of all slices
 * @throws the error of reading
 */
export async function* slicesOf(
  read: (options: RangeOptions) => Promise<readonly EngineEntry[]>,
  { gte, lt, limit }: RangeOptions,
): AsyncGenerator<readonly EngineEntry[], void, void> {
  let from = gte
  let size = entriesAtFirst
  for (let left = limit; left > 0; ) {
    const asked = Math.min(size, left)
    const entries = await read({ gte: from, lt, limit: asked })
    const last = entries.at(-1)
    if (last === undefined) return
    yield entries
    if (entries.length < asked) return
    left -= entries.length
    from = Buffer.concat([last[0], Uint8Array.of(0)])
    let bytes = 0
    for (const [key, value] of entries) bytes += key.length + value.length
    const fitting = Math.floor((entries.length * bytesWanted) / bytes)
    size = Math.max(1, Math.min(entriesMax, 2 * size, fitting))
  }
}
