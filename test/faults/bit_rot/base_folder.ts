import { createHash } from 'node:crypto'
import { commands, RecordBatchBuilder } from '../../../protocol/index.js'
import type { Random } from '../../helpers/random.js'
import { connectHello, type RawClient } from '../../helpers/raw_client.js'
import type { RoundContext } from '../campaign.js'
import { type BrokerPlan, BrokerProcess } from '../trial/broker_process.js'
import type { Digest, ExpectedPartition } from './model.js'

export const groupName = 'readers'

/** Settings of the broker in this campaign. */
export function planFor(context: RoundContext, dir: string): BrokerPlan {
  const settings = { retentionIntervalMs: 50, diskFreeBytesMin: 1_048_576 }
  return { dir, planted: context.planted, settings }
}

interface TopicPlan {
  readonly topic: string
  readonly partitions: number
  readonly valueBytesMax: number
  /** Bytes published to each partition in each of two runs. */
  readonly bytesPerRun: number
  readonly retentionBytes?: number
}

/** Small records, large ones, one topic that is idle at the end, and one whose retention drops most of it. */
function topicPlans(short: boolean, withReclaim: boolean): readonly TopicPlan[] {
  const scale = short ? 0.25 : 1
  return [
    { topic: 'small', partitions: 3, valueBytesMax: 200, bytesPerRun: 250_000 * scale },
    { topic: 'mixed', partitions: 2, valueBytesMax: 64 * 1024, bytesPerRun: 1_500_000 * scale },
    {
      topic: 'kept-for-little',
      partitions: 2,
      valueBytesMax: withReclaim ? 60_000 : 4_000,
      bytesPerRun: withReclaim ? 45_000_000 : 400_000 * scale,
      retentionBytes: 200_000,
    },
  ]
}

class PartitionWriter {
  readonly records: Digest[] = []
  committedOffset = 0
  last: ExpectedPartition['last'] = { batch: new Uint8Array(0), baseOffset: 0 }
  #sequence = 0
  #producerId = 0

  constructor(
    readonly plan: TopicPlan,
    readonly topicId: number,
    readonly partition: number,
    readonly rng: Random,
    readonly planted: string | undefined,
  ) {}

  /** One batch after the other, as an idempotent producer sends them. */
  async write(client: RawClient, bytes: number): Promise<void> {
    if (this.#producerId === 0)
      this.#producerId = (await client.request(commands.producerInit, {})).body.producerId
    for (let left = bytes; left > 0; ) {
      const { batch, digests } = this.#nextBatch()
      left -= batch.length
      const baseOffset = await publishBatch(client, this.topicId, this.partition, batch)
      if (baseOffset !== this.records.length)
        throw new Error(`the batch at ${this.records.length} went to ${baseOffset}`)
      this.records.push(...digests)
      this.last = { batch, baseOffset }
    }
    const to = this.rng.int(0, this.records.length)
    const offsets = [[this.topicId, this.partition, 0, to, undefined] as const]
    const { body } = await client.request(commands.groupCommit, { group: groupName, offsets })
    if (body.results[0]?.error !== 0) throw new Error(`offset ${to} was not committed`)
    this.committedOffset = to
  }

  #nextBatch(): { batch: Uint8Array; digests: Digest[] } {
    const { rng, plan } = this
    const builder = new RecordBatchBuilder()
    const digests: Digest[] = []
    const count = plan.valueBytesMax > 10_000 ? rng.int(1, 2) : rng.int(1, 20)
    for (let n = 0; n < count; n++) {
      const key = `key-${rng.int(0, 99)}`
      // Cheap and unique: the seed of a hash chain would be slower than the broker.
      const value = Buffer.alloc(
        rng.int(16, plan.valueBytesMax),
        `${plan.topic} ${this.partition} ${rng.uint32()} `,
      )
      builder.append({ key, value, timestamp: Date.now() })
      digests.push(digestOf(Buffer.from(key), value))
    }
    const producer = { producerId: this.#producerId, producerEpoch: 0, baseSequence: this.#sequence }
    this.#sequence += count
    return { batch: sealFor(this.planted, builder.finish('none', producer)), digests }
  }
}

/** A broker without checksums computes 0 for all of them, and refuses a batch with another value. */
export function sealFor(planted: string | undefined, batch: Uint8Array): Uint8Array {
  return planted === 'no-checksum' ? Uint8Array.from(batch).fill(0, 4, 8) : batch
}

export function digestOf(key: Uint8Array, value: Uint8Array): Digest {
  return createHash('md5').update(key).update('/').update(value).digest('hex')
}

/** Publishes one batch and returns its offset; throws the broker's error. */
export async function publishBatch(
  client: RawClient,
  topicId: number,
  partition: number,
  batch: Uint8Array,
): Promise<number> {
  const { body } = await client.request(
    commands.publish,
    { batches: [[topicId, partition, batch.length]] },
    batch,
  )
  const [result] = body.results
  if (result === undefined || result.error !== 0)
    throw new Error(`error ${result?.error}: ${result?.message ?? ''}`)
  return result.baseOffset ?? -1
}

export interface BaseFolder {
  readonly expected: readonly ExpectedPartition[]
  /** A crash left it; it was not closed. */
  readonly afterCrash: boolean
}

/**
 * Fills a data folder in two runs of a broker, so that its databases have tables as well as write-ahead files.
 * @param afterCrash the second run ends with kill -9
 */
export async function makeBaseFolder(
  context: RoundContext,
  dir: string,
  { afterCrash, withReclaim }: { readonly afterCrash: boolean; readonly withReclaim: boolean },
): Promise<BaseFolder> {
  const writers: PartitionWriter[] = []
  for (const run of [0, 1]) {
    const broker = await BrokerProcess.start(context, planFor(context, dir))
    const client = await connectHello(broker)
    if (run === 0) {
      for (const plan of topicPlans(context.short, withReclaim)) {
        const { topic, partitions, retentionBytes } = plan
        const settings = retentionBytes === undefined ? {} : { settings: { retentionBytes } }
        const { body } = await client.request(commands.topicCreate, { topic, partitions, ...settings })
        for (let partition = 0; partition < partitions; partition++)
          writers.push(new PartitionWriter(plan, body.topicId, partition, context.rng, context.planted))
      }
    }
    await Promise.all(writers.map((writer) => writer.write(client, writer.plan.bytesPerRun)))
    client.destroy()
    if (run === 1 && afterCrash) await broker.kill()
    else await broker.terminate()
  }
  const expected = writers.map(({ plan, topicId, partition, records, committedOffset, last }) => {
    const { topic, retentionBytes } = plan
    return {
      topic,
      topicId,
      partition,
      records,
      committedOffset,
      isTrimmed: retentionBytes !== undefined,
      last,
    }
  })
  return { expected, afterCrash }
}
