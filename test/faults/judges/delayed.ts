import type { Finding } from '../campaign.js'
import { Findings } from '../findings.js'

/** A message that was published with a due time. Times are ms since 1970, by the clock of this machine. */
export interface DelayedPublish {
  /** Unique forever. */
  readonly value: string
  /** It must not come before. */
  readonly dueMs: number
  /** `unknown`: it may come, at most once. `cancelled`: the broker has confirmed that it never comes. */
  readonly outcome: 'ok' | 'unknown' | 'cancelled'
  /** When the outcome was known. */
  readonly knownMs: number
}

/** A message as a reader of the topic was given it. */
export interface DelayedRead {
  readonly value: string
  readonly partition: number
  readonly offset: number
  readonly readMs: number
}

/** A due time of a schedule, as a reader was given its message. */
export interface ScheduleRead extends DelayedRead {
  /** The schedule's name. */
  readonly value: string
  readonly dueMs: number
}

/** A schedule that is due at every full second. */
export interface EverySecond {
  readonly name: string
  readonly missed: 'skip' | 'once' | 'all'
  /** When `set` was answered. */
  readonly setMs: number
}

/** A time in which the broker ran without a crash. */
export interface Life {
  readonly fromMs: number
  readonly toMs: number
}

/** All that clients saw of delayed messages and schedules until everything was read. */
export interface DelayedHistory {
  readonly published: readonly DelayedPublish[]
  readonly read: readonly DelayedRead[]
  readonly schedules: readonly EverySecond[]
  readonly ticks: readonly ScheduleRead[]
  readonly lives: readonly Life[]
  /** Due times of schedules up to this one must have been read. */
  readonly ticksUntilMs: number
}

/** Other messages may be due so much later, and come first. */
export const passedOverMs = 3_000
/** Due times so close to the start or end of a life may be taken for missed. */
const edgeMs = 5_000
const secondMs = 1_000

/** Judges what became of delayed messages and schedules, from what clients saw alone. */
export function judgeDelayed(history: DelayedHistory): Finding[] {
  const findings = new Findings()
  const firstRead = judgeReads(history, findings)
  const lost = history.published.filter(({ value, outcome }) => outcome === 'ok' && !firstRead.has(value))
  findings.addAll(
    'delayed-lost',
    lost.map(
      ({ value, dueMs, knownMs }) => `${value}, due at ${dueMs}, acknowledged at ${knownMs}, never came`,
    ),
  )
  judgePassedOver(history, firstRead, findings)
  judgeSchedules(history, findings)
  return findings.list
}

/** @returns the first read of each value */
function judgeReads({ published, read }: DelayedHistory, findings: Findings): Map<string, DelayedRead> {
  const known = new Map(published.map((message) => [message.value, message]))
  const firstRead = new Map<string, DelayedRead>()
  const [phantom, early, twice, cancelled]: string[][] = [[], [], [], []]
  for (const one of read) {
    const message = known.get(one.value)
    const before = firstRead.get(one.value)
    if (message === undefined) phantom?.push(`${one.value} at ${placeOf(one)}, nobody published it`)
    else if (message.outcome === 'cancelled') cancelled?.push(`${one.value} at ${placeOf(one)}`)
    else if (one.readMs < message.dueMs)
      early?.push(`${one.value} came ${message.dueMs - one.readMs} ms before ${message.dueMs}, its due time`)
    if (before === undefined) firstRead.set(one.value, one)
    else if (placeOf(before) !== placeOf(one))
      twice?.push(`${one.value} at ${placeOf(before)} and at ${placeOf(one)}`)
  }
  findings.addAll('delayed-phantom', phantom ?? [])
  findings.addAll('delayed-early', early ?? [])
  findings.addAll('delayed-twice', twice ?? [])
  findings.addAll('cancelled-fired', cancelled ?? [])
  return firstRead
}

/**
 * A broker that lives and appends messages that were due seconds later has forgotten those that it has not appended. Offsets of
 * a partition tell which came first; a reader may be far behind in another partition.
 */
function judgePassedOver(
  { published, lives }: DelayedHistory,
  firstRead: ReadonlyMap<string, DelayedRead>,
  findings: Findings,
): void {
  const evidence: string[] = []
  const dueMsOf = new Map(published.map(({ value, dueMs }) => [value, dueMs]))
  const partitions = new Set([...firstRead.values()].map(({ partition }) => partition))
  for (const life of lives) {
    for (const partition of partitions) {
      const appended = appendedIn(life, partition, firstRead, dueMsOf)
      for (const { value, dueMs, outcome, knownMs } of published) {
        const read = firstRead.get(value)
        if (outcome !== 'ok' || read?.partition !== partition) continue
        const owedMs = Math.max(dueMs, knownMs, life.fromMs)
        const later = appended[lowerBound(appended, owedMs + passedOverMs)]?.first
        if (later !== undefined && later.offset < read.offset)
          evidence.push(
            `${value} at ${placeOf(read)} was due at ${dueMs} and acknowledged at ${knownMs}; ${later.value} at ` +
              `${placeOf(later)} was due at ${dueMsOf.get(later.value)}, and the broker ran since ${life.fromMs}`,
          )
      }
    }
  }
  findings.addAll('delayed-passed-over', evidence)
}

/** Messages by due time; `first` is the one with the lowest offset of those from there on. */
function appendedIn(
  { fromMs, toMs }: Life,
  partition: number,
  firstRead: ReadonlyMap<string, DelayedRead>,
  dueMsOf: ReadonlyMap<string, number>,
): { readonly dueMs: number; readonly first: DelayedRead }[] {
  const appended = [...firstRead.values()]
    .filter((read) => read.partition === partition && read.readMs >= fromMs && read.readMs < toMs)
    .map((read) => ({ dueMs: dueMsOf.get(read.value) ?? 0, first: read }))
    .sort((a, b) => a.dueMs - b.dueMs)
  for (let at = appended.length - 2; at >= 0; at--) {
    const [here, next] = [appended[at], appended[at + 1]]
    if (here !== undefined && next !== undefined && next.first.offset < here.first.offset)
      here.first = next.first
  }
  return appended
}

function lowerBound(sorted: readonly { readonly dueMs: number }[], dueMs: number): number {
  let [low, high] = [0, sorted.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((sorted[middle]?.dueMs ?? 0) < dueMs) low = middle + 1
    else high = middle
  }
  return low
}

function judgeSchedules({ schedules, ticks, lives, ticksUntilMs }: DelayedHistory, findings: Findings): void {
  const [lost, twice, early]: string[][] = [[], [], []]
  for (const { name, missed, setMs } of schedules) {
    const places = new Map<number, string>()
    for (const tick of ticks) {
      if (tick.value !== name) continue
      const before = places.get(tick.dueMs)
      if (before !== undefined && before !== placeOf(tick))
        twice?.push(`${name}, due at ${tick.dueMs}, at ${before} and at ${placeOf(tick)}`)
      places.set(tick.dueMs, placeOf(tick))
      if (tick.readMs < tick.dueMs) early?.push(`${name}, due at ${tick.dueMs}, came at ${tick.readMs}`)
    }
    const isOwed = (dueMs: number): boolean =>
      missed === 'all' || lives.some(({ fromMs, toMs }) => dueMs >= fromMs + edgeMs && dueMs <= toMs - edgeMs)
    for (let dueMs = nextSecond(setMs); dueMs <= ticksUntilMs; dueMs += secondMs)
      if (!places.has(dueMs) && isOwed(dueMs))
        lost?.push(`${name} (missed: ${missed}) did not come for ${dueMs}`)
  }
  findings.addAll('schedule-lost', lost ?? [])
  findings.addAll('schedule-twice', twice ?? [])
  findings.addAll('schedule-early', early ?? [])
}

/** The first full second that is surely after a time. */
function nextSecond(timeMs: number): number {
  return (Math.floor(timeMs / secondMs) + 1) * secondMs
}

function placeOf({ partition, offset }: DelayedRead): string {
  return `${partition}/${offset}`
}
