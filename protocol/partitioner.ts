/**
 * MurmurHash2, 32 bits, seed 0x9747b28c, as Apache Kafka's clients compute it (Austin Appleby's MurmurHash2,
 * https://github.com/aappleby/smhasher). Returned as an unsigned number.
 */
export function murmur2(bytes: Uint8Array): number {
  const m = 0x5bd1e995
  const length = bytes.length
  let hash = 0x9747b28c ^ length
  const wordsEnd = length & ~3
  for (let at = 0; at < wordsEnd; at += 4) {
    let word =
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24)
    word = Math.imul(word, m)
    word ^= word >>> 24
    hash = Math.imul(hash, m) ^ Math.imul(word, m)
  }
  const tail = length & 3
  if (tail >= 3) hash ^= (bytes[wordsEnd + 2] as number) << 16
  if (tail >= 2) hash ^= (bytes[wordsEnd + 1] as number) << 8
  if (tail >= 1) hash = Math.imul(hash ^ (bytes[wordsEnd] as number), m)
  hash ^= hash >>> 13
  hash = Math.imul(hash, m)
  hash ^= hash >>> 15
  return hash >>> 0
}

/**
 * Returns the partition of a key: `(murmur2(key) & 0x7fffffff) % partitions`, the rule of Kafka's default
 * partitioner. So keys keep their partition when a topic moves from Kafka with the same number of partitions. Every
 * client must use this rule, because order by key needs the same choice in all publishers.
 */
export function partitionOf(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions
}
