import { decodeBody, encodeBody } from '../../protocol/index.js'
import { opKinds, type State } from '../../storage/index.js'
import { tableEntries, viewTables } from '../state_keys.js'
import type { Topic } from '../topics/topic.js'
import type { View } from '../view.js'
import type { MissedPolicy } from './occurrences.js'

/** Payload of scheduleSet; part of the disk format, like the payloads below. */
export interface ScheduleDefinition {
  readonly name: string
  /** Unique; distinguishes definitions with the same name. */
  readonly revision: number
  readonly topicId: number
  readonly partition?: number | undefined
  /** A record as in a batch, without its timestamp. */
  readonly body: Uint8Array
  /** The key of the record, if it has one. It chooses the partition if `partition` is absent. */
  readonly key?: Uint8Array | undefined
  readonly cron: string
  readonly timeZone: string
  readonly missed: MissedPolicy
  readonly nextDueMs: number | undefined
}

export interface ScheduleFired {
  readonly name: string
  readonly revision: number
  readonly nextDueMs: number | undefined
  readonly lastDueMs?: number | undefined
  readonly lastOffset?: number | undefined
  /** Number of published messages, and of skipped due times. */
  readonly fired: number
  readonly missed: number
}

export interface ScheduleDeleted {
  readonly name: string
}

/** A schedule in memory and in the state. */
export interface Schedule extends ScheduleDefinition {
  readonly lastDueMs?: number | undefined
  readonly lastOffset?: number | undefined
  readonly firedCount: number
  readonly missedCount: number
}

/** The schedules: the fold over scheduleSet, scheduleDeleted and scheduleFired. All are in memory. */
export class SchedulesView implements View {
  readonly kinds = [opKinds.scheduleSet, opKinds.scheduleDeleted, opKinds.scheduleFired]
  readonly #state: State
  readonly #topicOf: (topicId: number) => Topic | undefined
  readonly #byName = new Map<string, Schedule>()
  readonly #changed = new Set<string>()
  #nextDueMs: number | undefined | 'unknown' = 'unknown'

  constructor(state: State, topicOf: (topicId: number) => Topic | undefined) {
    this.#state = state
    this.#topicOf = topicOf
  }

  get count(): number {
    return this.#byName.size
  }

  get all(): Iterable<Schedule> {
    return this.#byName.values()
  }

  get(name: string): Schedule | undefined {
    return this.#byName.get(name)
  }

  /** The next due time of all schedules. */
  get nextDueMs(): number | undefined {
    if (this.#nextDueMs === 'unknown') {
      let least = Number.POSITIVE_INFINITY
      for (const { nextDueMs = least } of this.#byName.values()) least = Math.min(least, nextDueMs)
      this.#nextDueMs = least === Number.POSITIVE_INFINITY ? undefined : least
    }
    return this.#nextDueMs
  }

  async load(): Promise<void> {
    for await (const [, value] of tableEntries(this.#state, viewTables.schedule)) {
      const schedule = withoutNil(decodeBody(value) as Schedule)
      this.#byName.set(schedule.name, { ...schedule, ...ownedBytes(schedule) })
    }
  }

  apply(kind: number, payload: Uint8Array): void {
    this.#nextDueMs = 'unknown'
    const op = decodeBody(payload)
    if (kind === opKinds.scheduleSet) this.#set(withoutNil(op as ScheduleDefinition))
    else if (kind === opKinds.scheduleFired) this.#fired(withoutNil(op as ScheduleFired))
    else this.#delete((op as ScheduleDeleted).name)
  }

  /** The topic was deleted, and its schedules with it. */
  topicDeleted(topicId: number): void {
    this.#nextDueMs = 'unknown'
    for (const schedule of [...this.#byName.values()])
      if (schedule.topicId === topicId) this.#delete(schedule.name)
  }

  /** Writes the changes since the last call to the state. */
  save(): void {
    for (const name of this.#changed) {
      const schedule = this.#byName.get(name)
      if (schedule !== undefined) this.#state.put(scheduleKey(name), encodeBody(schedule))
    }
    this.#changed.clear()
  }

  #set(definition: ScheduleDefinition): void {
    if (this.#topicOf(definition.topicId) === undefined) return
    const { name } = definition
    this.#byName.set(name, { ...definition, ...ownedBytes(definition), firedCount: 0, missedCount: 0 })
    this.#changed.add(name)
  }

  #fired({ name, revision, nextDueMs, lastDueMs, lastOffset, fired, missed }: ScheduleFired): void {
    const schedule = this.#byName.get(name)
    // A new definition has replaced it before the operation was applied.
    if (schedule === undefined || schedule.revision !== revision) return
    this.#byName.set(name, {
      ...schedule,
      nextDueMs,
      lastDueMs: lastDueMs ?? schedule.lastDueMs,
      lastOffset: lastOffset ?? schedule.lastOffset,
      firedCount: schedule.firedCount + fired,
      missedCount: schedule.missedCount + missed,
    })
    this.#changed.add(name)
  }

  #delete(name: string): void {
    this.#byName.delete(name)
    this.#changed.delete(name)
    this.#state.del(scheduleKey(name))
  }
}

function scheduleKey(name: string): Uint8Array {
  return Buffer.concat([Uint8Array.of(viewTables.schedule), Buffer.from(name)])
}

/** msgpack encodes undefined as nil. */
function withoutNil<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== null)) as T
}

/** Copies bytes: decoded values are slices of memory that is reused. */
function ownedBytes({ body, key }: ScheduleDefinition): Pick<ScheduleDefinition, 'body' | 'key'> {
  return { body: new Uint8Array(body), key: key && new Uint8Array(key) }
}
