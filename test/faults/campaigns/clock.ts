import { setTimeout as sleep } from 'node:timers/promises'
import { type Client, connect, defineTopic, isMillraceError, string } from '../../../client/index.js'
import { commands, RecordBatchBuilder } from '../../../protocol/index.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import { waitFor } from '../../helpers/wait_for.js'
import type { Campaign, RoundContext } from '../campaign.js'
import { Findings } from '../findings.js'
import { SteadyGroup } from '../load/steady_group.js'
import { type MovableClock, movableClock, movableClockUnavailable } from '../machine/clock.js'
import { BrokerProcess } from '../trial/broker_process.js'

const hourMs = 3_600_000
const halfHourMs = hourMs / 2
const publishEveryMs = 10
const settings = {
  retentionIntervalMs: 100,
  producerIdleMs: halfHourMs,
  groupOffsetsRetentionMs: halfHourMs,
}
const members = 4
const partitions = 8
/** Young: none of their records may go. `old` gets records of long ago, which have to go whatever the clock says. */
const topics = { young: 'young', younger: 'younger', old: 'old' } as const

/**
 * The wall clock of the broker is moved by an hour both ways and back, while it runs and across a restart, with
 * retention, idle producers and abandoned groups set to half an hour.
 */
export const clock: Campaign = {
  name: 'clock',
  title: "the broker's wall clock jumps by an hour, both ways, also across a restart",
  rounds: { full: 3, short: 1 },
  roundDeadlineMs: 240_000,
  unavailable: movableClockUnavailable,
  async round(context) {
    const round = await ClockRound.start(context)
    const holdMs = context.short ? 700 : 5_000
    const jumps = context.short ? [1, -1] : [1, 0, -1, 0, 2, -2, 0]
    // Abandoned groups are looked for once a minute.
    for (const [index, hours] of jumps.entries())
      await round.jump(hours, !context.short && index === 0 ? 65_000 : holdMs)
    await round.restartAt(1, holdMs)
    if (!context.short) await round.restartAt(-1, holdMs)
    await round.jump(0, holdMs)
    return await round.finish()
  },
}

class ClockRound {
  readonly #context: RoundContext
  readonly #clock: MovableClock
  readonly #dir: string
  readonly #findings = new Findings()
  readonly #stop = new AbortController()
  #broker: BrokerProcess
  #client: Client
  #group: SteadyGroup
  #producer: RawProducer | undefined
  readonly #acked: string[] = []
  readonly #failed: string[] = []
  #publishing: Promise<void> | undefined
  #checks = 0
  readonly #faults: Record<string, number> = {}

  private constructor(context: RoundContext, made: ClockParts) {
    this.#context = context
    this.#clock = made.clock
    this.#dir = made.dir
    this.#broker = made.broker
    this.#client = made.client
    this.#group = made.group
  }

  static async start(context: RoundContext): Promise<ClockRound> {
    const clock = await movableClock(context)
    const dir = await context.tempDir()
    const { planted } = context
    const broker = await BrokerProcess.start(context, { dir, settings, env: clock.env, planted })
    const client = await connect(broker.server)
    context.defer(() => client.close({ timeoutMs: 0 }))
    await client.topics.create(topics.younger, { partitions: 1, retention: { time: halfHourMs } })
    await client.topics.create(topics.old, { partitions: 1, retention: { time: halfHourMs } })
    const group = await SteadyGroup.start(context, {
      server: broker.server,
      topic: topics.young,
      group: 'steady',
      members,
      partitions,
      sessionTimeoutMs: 6_000,
    })
    await client.topics.alter(topics.young, { retention: { time: 2 * hourMs } })
    await abandonGroup(client)
    const round = new ClockRound(context, { clock, dir, broker, client, group })
    round.#producer = await RawProducer.start(context, broker, client)
    round.#publishing = round.#publish()
    return round
  }

  /** Moves the clock to so many hours from the true time for a while, and looks what came of it. */
  async jump(hours: number, holdMs: number): Promise<void> {
    const before = await this.#group.memberIds()
    await this.#clock.move(hours * hourMs)
    this.#count(hours === 0 ? 'clock set right' : 'clock moved')
    await this.#hold(`at ${signed(hours)} h`, holdMs)
    const after = await this.#group.memberIds()
    this.#findings.expect(
      before.join() === after.join() && this.#group.revoked.length === 0,
      'evicted',
      () =>
        `at ${signed(hours)} h the members were ${after.join(', ')}, before ${before.join(', ')}; ${this.#group.revoked.join('; ')}`,
    )
  }

  /** Stops the broker and starts it with the clock at so many hours from the true time. */
  async restartAt(hours: number, holdMs: number): Promise<void> {
    await this.#broker.terminate()
    await this.#clock.move(hours * hourMs)
    this.#count('clock moved across a restart')
    const { env } = this.#clock
    const { port } = this.#broker
    const { planted } = this.#context
    this.#broker = await BrokerProcess.start(this.#context, { dir: this.#dir, port, settings, env, planted })
    await this.#producer?.reconnect(this.#broker)
    await this.#group.settled()
    await this.#hold(`started at ${signed(hours)} h`, holdMs)
    this.#findings.addAll(
      'evicted',
      this.#group.revoked.map((what) => `started at ${signed(hours)} h: ${what}`),
    )
  }

  async finish(): Promise<{
    operations: number
    faults: Readonly<Record<string, number>>
    findings: Findings['list']
  }> {
    this.#stop.abort()
    await this.#publishing
    const isDelivered = (): boolean => this.#acked.every((value) => this.#group.delivered.has(value))
    await waitFor('everything to be delivered', isDelivered, { deadlineMs: 10_000 }).catch(() => {
      const lost = this.#acked.filter((value) => !this.#group.delivered.has(value))
      this.#findings.addAll(
        'lost',
        lost.map((value) => `${value} was acknowledged and not delivered`),
      )
    })
    this.#findings.addAll('refused', this.#failed)
    await this.#client.close({ timeoutMs: 1_000 })
    const operations = this.#acked.length * 2 + this.#checks
    this.#context.log(
      `${this.#acked.length} messages, ${this.#checks} looks at retention, producers, groups and times`,
    )
    return { operations, faults: this.#faults, findings: this.#findings.list }
  }

  async #hold(when: string, holdMs: number): Promise<void> {
    const old = await this.#publishOld()
    await sleep(holdMs)
    await this.#checkRetention(when, old)
    await this.#checkTimes(when)
    for (const problem of (await this.#producer?.repeat()) ?? [])
      this.#findings.list.push({ check: 'producer-forgotten', evidence: `${when}: ${problem}` })
    const { health } = await this.#client.status()
    this.#findings.expect(health.status === 'ok', 'health', () => `${when}: ${health.reasons.join('; ')}`)
    const groups = await this.#client.groups.list()
    this.#findings.expect(
      groups.some(({ group }) => group === abandoned),
      'offsets-forgotten',
      () => `${when}: the offsets of a group that was abandoned a moment ago are forgotten`,
    )
    this.#checks += 2
  }

  /** A record of two hours ago: the proof that retention runs. Returns its offset. */
  async #publishOld(): Promise<number> {
    const { offset } = await this.#client.publish(old, { value: 'old', timestamp: Date.now() - 2 * hourMs })
    return offset
  }

  async #checkRetention(when: string, oldOffset: number): Promise<void> {
    for (const name of [topics.young, topics.younger]) {
      const { partitions: found } = await this.#client.topics.describe(name)
      for (const [index, { startOffset }] of found.entries()) {
        this.#checks++
        this.#findings.expect(
          startOffset === 0,
          'early-expiry',
          () =>
            `${when}: partition ${index} of "${name}" begins at ${startOffset}, its records are minutes old`,
        )
      }
    }
    const isGone = async (): Promise<boolean> => {
      const { partitions: found } = await this.#client.topics.describe(topics.old)
      return (found[0]?.startOffset ?? 0) > oldOffset
    }
    // A broker whose clock is behind takes old records for younger, up to what it is behind.
    await waitFor('records of two hours ago to be dropped', isGone, { deadlineMs: 2_000 }).catch(() => {
      if (!when.includes('-'))
        this.#findings.list.push({ check: 'retention-stopped', evidence: `${when}: an old record stays` })
    })
    this.#checks++
  }

  /** Finds records by their time, which publishers stamp. */
  async #checkTimes(when: string): Promise<void> {
    const timestamp = Date.now()
    const { partition, offset } = await this.#client.publish(younger, { value: 'now', timestamp })
    const wanted = new Date(timestamp)
    const consumer = this.#client.consume(younger, { from: wanted, partitions: [partition], until: 'end' })
    let first: number | undefined
    for await (const message of consumer) first ??= message.offset
    this.#checks++
    this.#findings.expect(
      first !== undefined && first <= offset,
      'offset-for-time',
      () => `${when}: reading from the time of offset ${offset} began at ${first}`,
    )
  }

  async #publish(): Promise<void> {
    for (let number = 0; !this.#stop.signal.aborted; number++) {
      const value = `v${number}`
      try {
        await Promise.all([
          this.#client.publish(young, { key: value, value }),
          this.#client.publish(younger, { value }),
        ])
        this.#acked.push(value)
      } catch (error) {
        this.#failed.push(`publishing ${value}: ${isMillraceError(error) ? error.code : ''} ${String(error)}`)
      }
      await sleep(publishEveryMs)
    }
  }

  #count(fault: string): void {
    this.#faults[fault] = (this.#faults[fault] ?? 0) + 1
  }
}

interface ClockParts {
  readonly clock: MovableClock
  readonly dir: string
  readonly broker: BrokerProcess
  readonly client: Client
  readonly group: SteadyGroup
}

const young = defineTopic(topics.young, { value: string })
const younger = defineTopic(topics.younger, { value: string })
const old = defineTopic(topics.old, { value: string })
const abandoned = 'abandoned'

/** A group with a committed offset and no members. */
async function abandonGroup(client: Client): Promise<void> {
  await client.publish(younger, { value: 'first' })
  const consumer = client.consume(younger, { group: abandoned, from: 'earliest' })
  for await (const message of consumer) {
    message.ack()
    break
  }
}

/** An idempotent producer that published long ago, as the broker's clock sees it, and repeats itself. */
class RawProducer {
  #client: RawClient
  readonly #topicId: number
  readonly #producerId: number
  #sequence = 0
  #baseOffset = 0

  private constructor(client: RawClient, topicId: number, producerId: number) {
    this.#client = client
    this.#topicId = topicId
    this.#producerId = producerId
  }

  static async start(context: RoundContext, broker: BrokerProcess, admin: Client): Promise<RawProducer> {
    const client = await connectHello(broker)
    await admin.topics.create('repeats', { partitions: 1 })
    const { topics: found } = (await client.request(commands.metadata, { topics: ['repeats'] })).body
    const { producerId } = (await client.request(commands.producerInit, {})).body
    const producer = new RawProducer(client, found[0]?.topicId ?? 0, producerId)
    context.defer(() => producer.#client.destroy())
    producer.#baseOffset = (await producer.#publish(0)).baseOffset ?? -1
    producer.#sequence = 1
    return producer
  }

  async reconnect(broker: BrokerProcess): Promise<void> {
    this.#client.destroy()
    this.#client = await connectHello(broker)
  }

  /** Sends the newest batch again, then the next one; returns what is wrong with the answers. */
  async repeat(): Promise<string[]> {
    const problems: string[] = []
    const repeated = await this.#publish(this.#sequence - 1)
    if (repeated.error !== 0 || repeated.baseOffset !== this.#baseOffset)
      problems.push(
        `a repeat of offset ${this.#baseOffset} was answered with ${repeated.message ?? repeated.baseOffset}`,
      )
    const next = await this.#publish(this.#sequence)
    if (next.error !== 0) problems.push(`the next batch was refused: ${next.message}`)
    this.#baseOffset = next.baseOffset ?? -1
    this.#sequence++
    return problems
  }

  async #publish(
    baseSequence: number,
  ): Promise<{ readonly error: number; readonly message?: string; readonly baseOffset?: number }> {
    const builder = new RecordBatchBuilder()
    builder.append({ value: `${baseSequence}`, timestamp: Date.now() })
    const batch = builder.finish('none', { producerId: this.#producerId, producerEpoch: 0, baseSequence })
    const { body } = await this.#client.request(
      commands.publish,
      { batches: [[this.#topicId, 0, batch.length]] },
      batch,
    )
    const [{ error, message, baseOffset } = { error: -1 }] = body.results
    return {
      error,
      ...(message === undefined ? {} : { message }),
      ...(baseOffset === undefined ? {} : { baseOffset }),
    }
  }
}

function signed(hours: number): string {
  return hours > 0 ? `+${hours}` : `${hours}`
}
