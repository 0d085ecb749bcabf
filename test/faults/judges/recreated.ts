import type { Finding } from '../campaign.js'
import { Findings } from '../findings.js'

/** A topic from its creation to its deletion; the next one has the same name. Times are ms of one clock. */
export interface Generation {
  /** When its creation was confirmed. */
  readonly createdMs: number
  /** When its deletion was requested; infinite for the last. */
  readonly deletingMs: number
  /** What was acknowledged before this time had to reach every kind of reader; undefined: the topic was deleted before. */
  readonly owedUntilMs: number | undefined
}

export interface RecreatedPublish {
  /** Unique forever. */
  readonly value: string
  readonly begunMs: number
  /** When it was acknowledged; undefined: its outcome is unknown. */
  readonly ackedMs: number | undefined
}

export interface RecreatedRead {
  /** One consumer or worker; a new one after it ended. */
  readonly reader: string
  /** Readers of one kind share the messages. */
  readonly kind: string
  readonly value: string
  readonly partition: number
  readonly atMs: number
}

/** A record of the last topic, as it was read at the end. */
export interface LoggedRecord {
  readonly value: string
  readonly partition: number
  readonly offset: number
}

/** How a reader ended that nobody had closed. */
export interface ReaderEnd {
  readonly reader: string
  /** Code of its error; undefined: it ended without an error that names a reason. */
  readonly code: string | undefined
  readonly text: string
}

/** All that clients saw of a topic that was deleted and created again and again. */
export interface RecreatedHistory {
  readonly kinds: readonly string[]
  /** Oldest first. */
  readonly generations: readonly Generation[]
  readonly published: readonly RecreatedPublish[]
  /** In the order of their times. */
  readonly reads: readonly RecreatedRead[]
  readonly ends: readonly ReaderEnd[]
  /** All of the last topic. */
  readonly log: readonly LoggedRecord[]
}

/** Judges what became of messages and readers, from what clients saw alone. */
export function judgeRecreated(history: RecreatedHistory): Finding[] {
  const findings = new Findings()
  const published = new Map(history.published.map((publish) => [publish.value, publish]))
  judgeDelivery(history, findings)
  judgeOld(history, published, findings)
  judgeLog(history, published, findings)
  const unnamed = history.ends.filter(({ code }) => code === undefined)
  findings.addAll(
    'ended-without-name',
    unnamed.map(({ reader, text }) => `${reader} ended: ${text}`),
  )
  return findings.list
}

/** The index of the generation that a publish surely went to; undefined: it met a deletion, or its outcome is unknown. */
function generationOf(
  generations: readonly Generation[],
  { begunMs, ackedMs }: RecreatedPublish,
): number | undefined {
  if (ackedMs === undefined) return undefined
  const index = generations.findLastIndex(({ createdMs }) => createdMs <= begunMs)
  const generation = generations[index]
  return generation !== undefined && ackedMs <= generation.deletingMs ? index : undefined
}

function judgeDelivery({ kinds, generations, published, reads }: RecreatedHistory, findings: Findings): void {
  for (const kind of kinds) {
    const seen = new Set(reads.filter((read) => read.kind === kind).map(({ value }) => value))
    const missing = published.filter((publish) => {
      const owed = generations[generationOf(generations, publish) ?? -1]?.owedUntilMs ?? 0
      return (publish.ackedMs ?? owed) < owed && !seen.has(publish.value)
    })
    findings.addAll(
      'undelivered',
      missing.map(({ value, ackedMs }) => `${kind}: nobody got ${value}, acknowledged at ${ackedMs}`),
    )
  }
}

/** A reader that has begun with a partition of the new topic must get nothing of an older one there. */
function judgeOld(
  { generations, reads }: RecreatedHistory,
  published: ReadonlyMap<string, RecreatedPublish>,
  findings: Findings,
): void {
  const evidence: string[] = []
  const newest = new Map<string, { readonly generation: number; readonly value: string }>()
  for (const { reader, value, partition } of reads) {
    const publish = published.get(value)
    const generation = publish && generationOf(generations, publish)
    if (generation === undefined) continue
    const place = `${reader}/${partition}`
    const before = newest.get(place)
    if (before === undefined || generation > before.generation) newest.set(place, { generation, value })
    else if (generation < before.generation)
      evidence.push(
        `${reader} got ${value} of topic ${generation} in partition ${partition} after ${before.value} of topic ${before.generation}`,
      )
  }
  findings.addAll('old-in-new', evidence)
}

function judgeLog(
  { generations, log, published: all }: RecreatedHistory,
  published: ReadonlyMap<string, RecreatedPublish>,
  findings: Findings,
): void {
  const last = generations.length - 1
  const places = new Map<string, string>()
  const [old, twice, phantom]: string[][] = [[], [], []]
  for (const { value, partition, offset } of log) {
    const place = `${partition}/${offset}`
    const publish = published.get(value)
    const before = places.get(value)
    if (before !== undefined) twice?.push(`${value} at ${before} and at ${place}`)
    places.set(value, place)
    if (publish === undefined) phantom?.push(`${value} at ${place}, nobody published it`)
    else if (publish.ackedMs !== undefined && publish.ackedMs <= (generations[last - 1]?.deletingMs ?? 0))
      old?.push(`${value} at ${place}, acknowledged before the topic was deleted`)
  }
  const lost = all.filter(
    (publish) => generationOf(generations, publish) === last && !places.has(publish.value),
  )
  findings.addAll(
    'lost-write',
    lost.map(({ value, ackedMs }) => `${value}, acknowledged at ${ackedMs}, is not in the log`),
  )
  findings.addAll('old-in-log', old ?? [])
  findings.addAll('one-value-at-two-offsets', twice ?? [])
  findings.addAll('phantom', phantom ?? [])
}
