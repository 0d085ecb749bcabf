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
 * The partition that a key belongs to: `(murmur2(key) & 0x7fffffff) % partitions`. It is the rule of Kafka's default
 * partitioner, so keys keep their partition when a topic is moved over with the same number of partitions. Every
 * client must use it: order by key depends on all publishers choosing alike.
 */
export function partitionOf(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions
}
