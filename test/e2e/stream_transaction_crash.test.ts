import * as assert from 'uvu/assert'
import { type Client, connect, defineTopic, string } from '../../client/index.js'
import { BrokerProcess } from '../faults/trial/broker_process.js'
import { suite, type TestContext } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('e2e/stream_transaction_crash')

const rounds = 10
const partitions = 4
const orders = defineTopic('orders', { value: string })
const bills = defineTopic('bills', { value: string })

async function connectTo(context: TestContext, { server }: BrokerProcess): Promise<Client> {
  const client = await connect({ servers: server, reconnect: { initialMs: 10, maxMs: 50 } })
  context.defer(() => client.close({ timeoutMs: 0 }))
  return client
}

/** Publishes until it is told to stop; resolves with the number of acknowledged messages. */
async function orderUntil(client: Client, stop: AbortSignal): Promise<number> {
  let count = 0
  while (!stop.aborted) {
    const messages = Array.from({ length: 20 }, (_, i) => ({
      value: String(count + i),
      partition: (count + i) % partitions,
    }))
    await client.publishMany(orders, messages)
    count += messages.length
  }
  return count
}

/** A member that bills its messages; after every error it continues from the committed offset. */
async function billUntil(client: Client, stop: AbortSignal, onBilled: () => void): Promise<void> {
  while (!stop.aborted) {
    const consumer = client.consume(orders, {
      group: 'billing',
      from: 'earliest',
      commitIntervalMs: 1,
      signal: stop,
    })
    try {
      for await (const batch of consumer.batches({ messagesMax: 50 })) {
        await client.transaction((transaction) => {
          for (const { value } of batch.messages) transaction.publish(bills, { value })
          transaction.ack(batch)
        })
        onBilled()
      }
    } catch {
      await consumer.close().catch(() => {})
    }
  }
}

test(
  `after ${rounds} kills of the broker each message of a stream group has its effect once`,
  async (context) => {
    const random = context.random()
    const dir = await context.tempDir()
    let broker = await BrokerProcess.start(context, { dir })
    const client = await connectTo(context, broker)
    for (const topic of ['orders', 'bills']) await client.topics.create(topic, { partitions })
    const stopOrders = new AbortController()
    const stopBilling = new AbortController()
    context.defer(() => {
      stopOrders.abort()
      stopBilling.abort()
    })
    const ordering = orderUntil(client, stopOrders.signal)
    ordering.catch(() => {})
    let transactions = 0
    const onBilled = (): void => void transactions++
    const members = [await connectTo(context, broker), await connectTo(context, broker)].map((member) =>
      billUntil(member, stopBilling.signal, onBilled),
    )
    for (let round = 0; round < rounds; round++) {
      const goal = transactions + random.int(1, 40)
      await waitFor('transactions', () => transactions >= goal, { deadlineMs: 20_000 })
      await broker.kill()
      broker = await BrokerProcess.start(context, { dir, port: broker.port })
    }
    stopOrders.abort()
    const count = await ordering
    const lag = async (): Promise<number> =>
      (await client.groups.describe('billing')).partitions.reduce((sum, one) => sum + one.lag, 0)
    await waitFor('all to be billed', async () => (await lag()) === 0, { deadlineMs: 20_000 })
    stopBilling.abort()
    await Promise.all(members)
    const billed: number[] = []
    for await (const { value } of client.consume(bills, { from: 'earliest', until: 'end' }))
      billed.push(Number(value))
    assert.equal(
      billed.sort((a, b) => a - b),
      Array.from({ length: count }, (_, i) => i),
    )
  },
  { deadlineMs: 120_000 },
)

test.run()
