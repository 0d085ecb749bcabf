import {
  type commands,
  encodeBody,
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
   * Creates or replaces a schedule; returns its due time.
   * @throws MillraceError BAD_NAME, UNKNOWN_TOPIC, UNKNOWN_PARTITION, BAD_SCHEDULE, BAD_BATCH, BATCH_TOO_LARGE,
   * LIMIT_EXCEEDED, STORAGE_FAILED
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
        if (schedules.get(name) === undefined && schedules.count >= settings.schedulesMax) {
          throw new MillraceError(
            'LIMIT_EXCEEDED',
            `the broker has ${schedules.count} schedules, which is the maximum (schedulesMax)`,
          )
        }
        const nextDueMs = nextDueAfter(cron, timeZone, clock.earliestMs)
        if (nextDueMs === undefined) {
          throw new MillraceError('BAD_SCHEDULE', `the cron pattern ${JSON.stringify(cron)} never fires`)
        }
        const revision = shard.uniqueId()
        const { topicId } = topic
        const op: ScheduleDefinition = {
          ...{ name, revision, topicId, partition, body, key },
          ...{ cron, timeZone, missed, nextDueMs },
        }
        await shard.commit([{ kind: opKinds.scheduleSet, payload: encodeBody(op) }])
        // If the topic was deleted first, the operation has no effect. The next turn refuses it, or takes a new topic.
        if (schedules.get(name)?.revision === revision) return nextDueMs
        if (shard.catalog.byId(topicId) !== undefined) return nextDueMs
      }
    })
  }

  /** @throws MillraceError UNKNOWN_SCHEDULE, STORAGE_FAILED */
  delete(name: string): Promise<void> {
    return this.#inTurn(async () => {
      const { shard, schedules } = this.#later
      if (schedules.get(name) === undefined) {
        const known = suggestion(
          name,
          Array.from(schedules.all, (schedule) => schedule.name),
        )
        throw new MillraceError('UNKNOWN_SCHEDULE', `there is no schedule ${JSON.stringify(name)}${known}`)
      }
      const op: ScheduleDeleted = { name }
      await shard.commit([{ kind: opKinds.scheduleDeleted, payload: encodeBody(op) }])
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
      const due: Schedule[] = []
      for (const schedule of this.#later.schedules.all) {
        if (schedule.nextDueMs !== undefined && schedule.nextDueMs <= nowMs) due.push(schedule)
        if (due.length === schedulesPerCommit) break
      }
      if (due.length > 0) await this.#fire(due, nowMs)
      return due.length > 0
    })
  }

  async #fire(due: readonly Schedule[], nowMs: number): Promise<void> {
    const { shard, metrics } = this.#later
    const appends = new Appends()
    const ops: Op[] = []
    let bytes = 0
    for (const schedule of due) {
      if (bytes > commitBytesGoal) break
      const recordsBefore = appends.records
      const payload = encodeBody(fireOne(schedule, shard.catalog.byId(schedule.topicId), nowMs, appends))
      bytes += (appends.records - recordsBefore) * schedule.body.length
      ops.push({ kind: opKinds.scheduleFired, payload })
    }
    await shard.commit([...appends.ops(), ...ops])
    metrics.publishedRecords += appends.records
    metrics.publishedBytes += appends.bytes
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.#last.then(work, work)
    this.#last = turn.catch(() => undefined)
    return turn
  }
}

/** Adds the messages of one schedule to `appends`. */
function fireOne(
  schedule: Schedule,
  topic: Topic | undefined,
  nowMs: number,
  appends: Appends,
): ScheduleFired {
  const { name, revision, cron, timeZone, missed, body, firedCount } = schedule
  const { dueMs, ...rest } = occurrencesUntil(
    nowMs,
    schedule.nextDueMs ?? Number.POSITIVE_INFINITY,
    missed,
    limits.scheduleMissedMax,
    (afterMs) => nextDueAfter(cron, timeZone, afterMs),
  )
  let lastOffset: number | undefined
  for (const [index, timestamp] of dueMs.entries()) {
    const partition = topic && partitionFor(schedule, topic, firedCount + index)
    if (partition !== undefined) lastOffset = appends.add(partition, { body, timestamp })
  }
  return { name, revision, ...rest, fired: dueMs.length, lastDueMs: dueMs.at(-1), lastOffset }
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
