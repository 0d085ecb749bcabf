import type { StandardSchemaV1 } from '@standard-schema/spec'
import {
  type Client,
  type Consumer,
  defineService,
  defineTopic,
  json,
  type Message,
  type Worker,
  type WorkOptions,
} from '../../client/index.js'

/**
 * Programs that the build compiles and that never run: accepted code compiles, and each `@ts-expect-error` stands
 * over a line that must not compile (the compiler refuses one over a good line).
 */

interface Order {
  readonly item: string
}
interface User {
  readonly name: string
}

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
function same<A, B>(_equal: Equal<A, B>): void {}

const orders = defineTopic('orders', { value: json<Order>() })
const users = defineTopic('users', { value: json<User>(), tombstones: true })
const prices = defineTopic('prices', { value: {} as StandardSchemaV1<string, number> })

export async function severalTopics(client: Client): Promise<void> {
  for await (const message of client.consume([orders, users, 'raw'], { group: 'g' })) {
    same<typeof message.topic, 'orders' | 'users' | 'raw'>(true)
    same<typeof message.value, Order | User | Uint8Array | null>(true)
    if (message.topic === 'orders') same<typeof message.value, Order>(true)
    else if (message.topic === 'users') same<typeof message.value, User | null>(true)
    else same<typeof message.value, Uint8Array | null>(true)
    // @ts-expect-error no topic of the consumer has this name
    if (message.topic === 'user') message.ack()
  }
  for await (const batch of client.consume([orders, users]).batches())
    if (batch.topic === 'orders') for (const { value } of batch.messages) same<typeof value, Order>(true)
  await client.consume([orders, users]).run((message) => {
    if (message.topic === 'orders') same<typeof message.value, Order>(true)
    else same<typeof message.value, User | null>(true)
  })
  client.work([orders, users, 'raw'], { group: 'g' }, (message) => {
    switch (message.topic) {
      case 'orders':
        return same<typeof message.value, Order>(true)
      case 'users':
        return same<typeof message.value, User | null>(true)
      case 'raw':
        return same<typeof message.value, Uint8Array>(true)
    }
  })
}

export function batchesOfWork(client: Client): void {
  client.workBatch(orders, { group: 'g' }, (batch) => {
    for (const { value, topic } of batch.messages) {
      same<typeof value, Order>(true)
      same<typeof topic, 'orders'>(true)
    }
  })
  client.workBatch([orders, users], { group: 'g', messagesMax: 10 }, (batch) => {
    for (const message of batch.messages)
      if (message.topic === 'orders') same<typeof message.value, Order>(true)
      else batch.fail(message, new Error('no user'))
  })
}

export function callbacksOfWork(client: Client): void {
  client.work(
    orders,
    {
      group: 'g',
      onFailed: ({ value, key, topic }) => {
        same<typeof value, Order>(true)
        same<typeof key, string | undefined>(true)
        same<typeof topic, 'orders'>(true)
      },
      onSettled: ({ value }) => same<typeof value, Order>(true),
    },
    () => {},
  )
  client.work(
    [orders, users, 'raw'],
    {
      group: 'g',
      onFailed: (message) => {
        if (message.topic === 'orders') same<typeof message.value, Order>(true)
        else if (message.topic === 'users') same<typeof message.value, User | null>(true)
        else same<typeof message.value, Uint8Array>(true)
      },
    },
    () => {},
  )
  client.workBatch(
    users,
    { group: 'g', onSettled: ({ value }) => same<typeof value, User | null>(true) },
    () => {},
  )
  const service = defineService('prices', { request: json<Order>(), reply: json<number>() })
  client.respond(service, { onFailed: ({ value }) => same<typeof value, Order>(true) }, () => 1)
  // A callback for any message fits every worker.
  const options: WorkOptions = { group: 'g', onFailed: ({ offset }, error) => console.error(offset, error) }
  client.work(orders, options, () => {})
  client.workBatch([orders, users], options, () => {})
}

export async function oneTopic(client: Client): Promise<void> {
  for await (const { value, key, topic } of client.consume(orders)) {
    same<typeof value, Order>(true)
    same<typeof key, string | undefined>(true)
    same<typeof topic, 'orders'>(true)
  }
  for await (const { value } of client.consume(prices)) same<typeof value, number>(true)
  const consumer: Consumer<Order, string> = client.consume(orders)
  const worker: Worker<Order, string> = client.work(orders, { group: 'g' }, ({ value }) => value.item)
  const names: string[] = ['orders']
  for await (const { topic, value } of client.consume(names)) {
    same<typeof topic, string>(true)
    same<typeof value, Uint8Array | null>(true)
  }
  await Promise.all([consumer.close(), worker.close()])
}

export async function tombstones(client: Client): Promise<void> {
  await client.publish(users, { key: 'ann', value: null })
  // @ts-expect-error the topic has no tombstones
  await client.publish(orders, { key: 'ann', value: null })
  for await (const { value } of client.consume(users)) {
    // @ts-expect-error the value may be null
    value.name.trim()
    value?.name.trim()
  }
}

export async function bareNames(client: Client): Promise<void> {
  await client.publish('raw', { value: Buffer.of(1) })
  await client.publish('raw', { value: Uint8Array.of(1), key: 'k' })
  await client.publish('raw', { key: 'k', value: null })
  await client.publishMany('raw', [{ value: Buffer.of(1) }])
  // @ts-expect-error a topic that is given by its name takes bytes
  await client.publish('raw', { value: { item: 'lamp' } })
  // @ts-expect-error a topic that is given by its name takes bytes
  await client.publish('raw', { value: 'text' })
  // @ts-expect-error a topic that is given by its name takes bytes
  await client.publishMany('raw', [{ value: { item: 'lamp' } }])
  await client.transaction((tx) => {
    tx.publish('raw', { value: Buffer.of(1) })
    // @ts-expect-error a topic that is given by its name takes bytes
    tx.publish('raw', { value: { item: 'lamp' } })
    // @ts-expect-error the topic takes orders
    tx.publish(orders, { value: { name: 'ann' } })
  })
  const cron = '* * * * *'
  await client.schedules.set('s', { topic: 'raw', message: { value: Buffer.of(1) }, cron })
  await client.schedules.set('s', { topic: orders, message: { value: { item: 'lamp' } }, cron })
  // @ts-expect-error a topic that is given by its name takes bytes
  await client.schedules.set('s', { topic: 'raw', message: { value: { item: 'lamp' } }, cron })
  // @ts-expect-error the topic takes orders
  await client.schedules.set('s', { topic: orders, message: { value: { name: 'ann' } }, cron })
}

export async function typedValues(client: Client): Promise<void> {
  await client.publish(orders, { value: { item: 'lamp' } })
  await client.publish(prices, { value: '5' })
  // @ts-expect-error the topic takes orders
  await client.publish(orders, { value: { item: 5 } })
  // @ts-expect-error publishers of the schema give text
  await client.publish(prices, { value: 5 })
  // @ts-expect-error a key of this topic is text
  await client.publish(orders, { value: { item: 'lamp' }, key: 5 })
  // @ts-expect-error no message has such a field
  await client.publish(orders, { value: { item: 'lamp' }, dely: '1s' })
  const service = defineService('s', { request: json<Order>(), reply: json<User>() })
  const { name } = await client.request(service, { value: { item: 'lamp' } })
  same<typeof name, string>(true)
  client.respond(service, {}, ({ value, topic }) => {
    same<typeof topic, string>(true)
    return { name: value.item }
  })
}

export function headers(message: Message): readonly (string | undefined | Uint8Array)[] {
  const { trace } = message.headers
  same<typeof trace, string | undefined>(true)
  return [trace, message.headerBytes.trace, message.headerText('trace')]
}
