import {
  type commands,
  encodeBody,
  isMillraceError,
  limits,
  MillraceError,
  nameProblem,
  partitionOf,
  RecordCursor,
  type RequestOf,
  suggestion,
} from '../../protocol/index.js'
import { type Op, opKinds } from '../../storage/index.js'
import type { Partition } from '../partition/partition.js'
import type { Catalog } from '../topics/catalog.js'
import type { Topic } from '../topics/topic.js'
import { Appends } from './appends.js'
import { nextDueAfter } from './cron.js'
import type { Later } from './later.js'
import { occurrencesUntil } from './occurrences.js'
import type { Schedule, ScheduleDefinition, ScheduleDeleted, ScheduleFired } from './schedules_view.js'

/** Limits of the schedules in one commit, and of the bytes of their messages. */
const schedulesPerCommit = 100
const commitBytesGoal = 4 * 1024 * 1024

/** Publishes the messages of due schedules; changes schedules one at a time. */
export class ScheduleFiring {
  readonly #later: Later
  #last: Promise<unknown> = Promise.resolve()

  constructor(later: Later) {
    this.#later = later
  }

  /** Next due time of a schedule. */
  get nextMs(): number | undefined {
    return this.#later.schedules.nextDueMs
  }

  /**
   * Creates or replaces a schedule; returns its next due time. What is due by now belongs to the former definition and
   * is published in the same commit. The next due time stays if the times are the same: the clock may have been set
   * back, and a due time must not come twice.
   * @throws MillraceError BAD_NAME, UNKNOWN_TOPIC, UNKNOWN_PARTITION, BAD_SCHEDULE, BAD_BATCH, BATCH_TOO_LARGE,
   * LIMIT_EXCEEDED, STORAGE_FULL, STORAGE_FAILED
   */
  set(request: RequestOf<typeof commands.scheduleSet>, payload: Uint8Array): Promise<number> {
    // Read it now: the memory of the payload is reused.
    const cursor = oneRecord(payload, this.#later.settings.batchBytesMax)
    const body = Buffer.from(cursor.records.subarray(cursor.bodyStart, cursor.bodyEnd))
    const key =
      cursor.keyStart < 0 ? undefined : Buffer.from(cursor.records.subarray(cursor.keyStart, cursor.keyEnd))
    return this.#inTurn(async () => {
      const { shard, schedules, settings, clock, admission } = this.#later
      const { name, cron, timeZone = 'UTC', missed = 'once', partition } = request
      checkName(name)
      for (;;) {
        const topic = shard.catalog.topic(request.topic)
        if (partition !== undefined) shard.partition(topic.topicId, partition)
        admission.gate().record(topic, body, undefined, limits.scheduleMessageBytesMax)
        const former = schedules.get(name)
        if (former === undefined && schedules.count >= settings.schedulesMax) {
          throw new MillraceError(
            'LIMIT_EXCEEDED',
            `the broker has ${schedules.count} schedules, which is the maximum (schedulesMax)`,
          )
        }
        const nowMs = clock.earliestMs
        const firstDueMs = nextDueAfter(cron, timeZone, nowMs)
        if (firstDueMs === undefined) {
          throw new MillraceError('BAD_SCHEDULE', `the cron pattern ${JSON.stringify(cron)} never fires`)
        }
        const firing = new Firing(shard.catalog)
        const formerDueMs = former && firing.add(former, nowMs)
        const isSameTiming = former?.cron === cron && former.timeZone === timeZone
        const nextDueMs = (isSameTiming ? formerDueMs : undefined) ?? firstDueMs
        const revision = shard.uniqueId()
        const { topicId } = topic
        const op: ScheduleDefinition = {
          ...{ name, revision, topicId, partition, body, key },
          ...{ cron, timeZone, missed, nextDueMs },
        }
        await this.#commit(firing, { kind: opKinds.scheduleSet, payload: encodeBody(op) })
        // If the topic was deleted first, the operation has no effect. The next turn refuses it, or takes a new topic.
        if (schedules.get(name)?.revision === revision) return nextDueMs
        if (shard.catalog.byId(topicId) !== undefined) return nextDueMs
      }
    })
  }

  /**
   * Deletes a schedule, and publishes what is due by now in the same commit. A low disk does not prevent the deletion:
   * then nothing is published.
   * @throws MillraceError UNKNOWN_SCHEDULE, STORAGE_FAILED
   */
  delete(name: string): Promise<void> {
    return this.#inTurn(async () => {
      const { shard, schedules, clock } = this.#later
      const schedule = schedules.get(name)
      if (schedule === undefined) {
        const known = suggestion(
          name,
          Array.from(schedules.all, (one) => one.name),
        )
        throw new MillraceError('UNKNOWN_SCHEDULE', `there is no schedule ${JSON.stringify(name)}${known}`)
      }
      const payload: ScheduleDeleted = { name }
      const op: Op = { kind: opKinds.scheduleDeleted, payload: encodeBody(payload) }
      const firing = new Firing(shard.catalog)
      firing.add(schedule, clock.earliestMs)
      try {
        await this.#commit(firing, op)
      } catch (error) {
        if (!isMillraceError(error, 'STORAGE_FULL')) throw error
        await shard.commit([op])
      }
    })
  }

  /**
   * Appends the messages of due schedules, and stores their next due times in the same commit. Returns whether there
   * may be more.
   * @throws MillraceError STORAGE_FULL, STORAGE_FAILED; the schedules are still due
   */
  fire(nowMs: number): Promise<boolean> {
    if ((this.nextMs ?? Number.POSITIVE_INFINITY) > nowMs) return Promise.resolve(false)
    return this.#inTurn(async () => {
      const firing = new Firing(this.#later.shard.catalog)
      for (const schedule of this.#later.schedules.all) {
        firing.add(schedule, nowMs)
        if (firing.isFull) break
      }
      if (firing.schedules > 0) await this.#commit(firing)
      return firing.schedules > 0
    })
  }

  async #commit(firing: Firing, ...ops: readonly Op[]): Promise<void> {
    const { shard, metrics } = this.#later
    await shard.commit([...firing.ops(), ...ops])
    metrics.publishedRecords += firing.records
    metrics.publishedBytes += firing.bytes
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work)
    this.#last = turn.catch(() => undefined)
    return turn
  }
}

/** The messages of due schedules, and their next due times, for one commit in the same turn of the event loop. */
class Firing {
  readonly #catalog: Catalog
  readonly #appends = new Appends()
  readonly #ops: Op[] = []
  #bodyBytes = 0

  constructor(catalog: Catalog) {
    this.#catalog = catalog
  }

  get schedules(): number {
    return this.#ops.length
  }

  get isFull(): boolean {
    return this.schedules >= schedulesPerCommit || this.#bodyBytes > commitBytesGoal
  }

  get records(): number {
    return this.#appends.records
  }

  get bytes(): number {
    return this.#appends.bytes
  }

  /** Adds what is due of a schedule, if anything is. Returns its next due time after now; undefined: none. */
  add(schedule: Schedule, nowMs: number): number | undefined {
    const { name, revision, cron, timeZone, missed, body, firedCount, nextDueMs: firstMs } = schedule
    if (firstMs === undefined || firstMs > nowMs) return firstMs
    const topic = this.#catalog.byId(schedule.topicId)
    const { dueMs, ...rest } = occurrencesUntil(nowMs, firstMs, missed, limits.scheduleMissedMax, (afterMs) =>
      nextDueAfter(cron, timeZone, afterMs),
    )
    let lastOffset: number | undefined
    for (const [index, timestamp] of dueMs.entries()) {
      const partition = topic && partitionFor(schedule, topic, firedCount + index)
      if (partition === undefined) continue
      lastOffset = this.#appends.add(partition, { body, timestamp })
      this.#bodyBytes += body.length
    }
    const lastDueMs = dueMs.at(-1)
    const fired: ScheduleFired = { name, revision, ...rest, fired: dueMs.length, lastDueMs, lastOffset }
    this.#ops.push({ kind: opKinds.scheduleFired, payload: encodeBody(fired) })
    return rest.nextDueMs
  }

  /** No schedule can be added after this. */
  ops(): Op[] {
    return [...this.#appends.ops(), ...this.#ops]
  }
}

function partitionFor(
  { partition, key }: Schedule,
  { partitions }: Topic,
  turn: number,
): Partition | undefined {
  const byKey = key && partitionOf(key, partitions.length)
  return partitions[partition ?? byKey ?? turn % partitions.length]
}

function oneRecord(payload: Uint8Array, batchBytesMax: number): RecordCursor {
  const cursor = new RecordCursor(payload, batchBytesMax)
  if (cursor.header.recordCount !== 1 || !cursor.next()) {
    throw new MillraceError(
      'BAD_REQUEST',
      `the payload has ${cursor.header.recordCount} records, expected exactly one`,
    )
  }
  return cursor
}

function checkName(name: string): void {
  const problem = nameProblem(name, limits.scheduleNameBytesMax)
  if (problem === undefined) return
  throw new MillraceError('BAD_NAME', `the schedule name ${JSON.stringify(name)} is not allowed: ${problem}`)
}
