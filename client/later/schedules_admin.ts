import { commands, RecordBatchBuilder, type ReplyOf } from '../../protocol/index.js'
import type { Cluster } from '../cluster.js'
import { type CallOptions, checkCallOptions, checkOptions, type OptionNames } from '../options.js'
import { type MessageInput, recordOf } from '../record.js'
import { type InputOf, type KeyOf, type TopicOrName, topicOf } from '../topic.js'

export type Schedule = ReplyOf<typeof commands.scheduleList>['schedules'][number]

/** The times and the message of a schedule. */
export interface ScheduleInput<Of extends TopicOrName = TopicOrName> {
  readonly topic: Of
  /** Its `timestamp` is the due time. */
  readonly message: Omit<MessageInput<InputOf<Of>, KeyOf<Of>>, 'timestamp' | 'delay' | 'deliverAt' | 'id'>
  /** Five fields, or six with seconds in front. */
  readonly cron: string
  /**
   * A name of the IANA database. Default UTC. When its clocks change, a pattern with one hour and one minute is due
   * once; one
   * with several is skipped in a skipped hour, and due twice in a repeated one.
   */
  readonly timeZone?: string | undefined
  /**
   * What to do with due times that passed while the broker was down: "once" (default) catches up on the newest, "all"
   * on
   * each (the oldest 1,000), "skip" on none.
   */
  readonly missed?: 'skip' | 'once' | 'all' | undefined
}

const scheduleNames: OptionNames<ScheduleInput> = {
  topic: true,
  message: true,
  cron: true,
  timeZone: true,
  missed: true,
}

/** Schedules, which publish a message repeatedly: `client.schedules`. */
export class SchedulesAdmin {
  readonly #cluster: Cluster

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  /**
   * Creates a schedule or replaces the one of this name. A program can set its schedules at each start: no due time is
   * lost or comes twice. What is due before the change has the old message.
   * @returns its next due time, ms since 1970
   * @throws MillraceError BAD_NAME, UNKNOWN_TOPIC, UNKNOWN_PARTITION, BAD_SCHEDULE, ENCODE_FAILED, LIMIT_EXCEEDED,
   * STORAGE_FULL
   */
  async set<Of extends TopicOrName>(
    name: string,
    schedule: ScheduleInput<Of>,
    options: CallOptions = {},
  ): Promise<number> {
    checkCallOptions('client.schedules.set', options)
    checkOptions<ScheduleInput>('client.schedules.set', schedule, scheduleNames)
    const { topic: named, message, cron, timeZone, missed } = schedule
    const topic = topicOf(named)
    const builder = new RecordBatchBuilder()
    builder.append(await recordOf(topic, message, Date.now()))
    const request = { name, topic: topic.name, partition: message.partition, cron, timeZone, missed }
    const payload = [builder.finish()]
    const reply = await this.#cluster.call(commands.scheduleSet, request, {
      ...options,
      payload,
      repeatable: true,
    })
    return reply.nextDueMs
  }

  /** Deletes a schedule; what is due before that is published. @throws MillraceError UNKNOWN_SCHEDULE */
  async delete(name: string, options: CallOptions = {}): Promise<void> {
    checkCallOptions('client.schedules.delete', options)
    await this.#cluster.call(commands.scheduleDelete, { name }, options)
  }

  /** By name. */
  async *list(options: CallOptions = {}): AsyncGenerator<Schedule> {
    checkCallOptions('client.schedules.list', options)
    let after: string | undefined
    for (let more = true; more; ) {
      const reply: ReplyOf<typeof commands.scheduleList> = await this.#cluster.call(
        commands.scheduleList,
        { after },
        { ...options, repeatable: true },
      )
      yield* reply.schedules
      after = reply.schedules.at(-1)?.name
      more = reply.more
    }
  }
}
