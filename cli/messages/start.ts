import type { Client, StartPosition } from '../../client/index.js'

/** Offsets to start at, by topic, then by partition. */
export type Starts = ReadonlyMap<string, readonly number[]>

/**
 * The starts of a reader whose start offset lies behind the end of some partitions; undefined if it lies behind none. These
 * partitions start at their end. Reports each of them on stderr.
 * @param partitions those that are read; default all
 * @param follow whether the reader waits for the offset
 */
export async function startsBehindEnd(
  client: Client,
  topics: readonly string[],
  from: StartPosition,
  { partitions, follow, signal }: StartOptions,
): Promise<Starts | undefined> {
  if (typeof from !== 'number') return undefined
  const starts = new Map<string, readonly number[]>()
  let isBehind = false
  for (const topic of topics) {
    const ends = await client.topics.offsets(topic, 'latest', { signal })
    for (const [partition, end] of ends.entries()) {
      if (end >= from || partitions?.includes(partition) === false) continue
      isBehind = true
      const place = `partition ${partition} of topic "${topic}" ends at offset ${end}`
      process.stderr.write(`millrace: ${place}; ${follow ? 'waiting for' : 'it has no'} offset ${from}\n`)
    }
    starts.set(
      topic,
      ends.map((end) => Math.min(end, from)),
    )
  }
  return isBehind ? starts : undefined
}

interface StartOptions {
  readonly partitions: readonly number[] | undefined
  readonly follow: boolean
  readonly signal: AbortSignal
}

/** Says on stderr if a group is paused, because its members get no messages then. @throws MillraceError UNKNOWN_GROUP */
export async function tellIfPaused(
  client: Client,
  group: string,
  follow: boolean,
  signal: AbortSignal,
): Promise<void> {
  const { paused } = await client.groups.describe(group, { signal })
  if (paused !== true) return
  const effect = follow ? 'waiting until it is resumed' : 'it reads nothing'
  process.stderr.write(
    `millrace: group "${group}" is paused; ${effect}. "millrace group resume ${group}" resumes it\n`,
  )
}
