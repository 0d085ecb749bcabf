import * as assert from 'uvu/assert'
import { RedrivenLetters, redrivenPageOffsets } from '../../../broker/queues/redriven_letters.js'
import { commands } from '../../../protocol/index.js'
import { Harness } from '../../client/consumer/harness.js'
import { connectHello } from '../../helpers/raw_client.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/queues/redriven_letters')

class Store {
  readonly pages = new Map<number, Uint8Array>()
  puts = 0

  putPage(page: number, value: Uint8Array): void {
    this.puts++
    this.pages.set(page, value)
  }

  delPage(page: number): void {
    this.pages.delete(page)
  }
}

function loaded({ pages }: Store): RedrivenLetters {
  const letters = new RedrivenLetters()
  for (const [page, value] of pages) letters.load(page, value)
  return letters
}

test('contains the added offsets, also after a save and a load', (context) => {
  const random = context.random()
  const letters = new RedrivenLetters()
  const model = new Set<number>()
  const store = new Store()
  for (let round = 0; round < 20; round++) {
    for (let n = 0; n < 500; n++) {
      const offset = random.int(0, 20_000)
      letters.add(offset)
      model.add(offset)
    }
    letters.save(store, 0)
    for (const copy of [letters, loaded(store)]) {
      assert.is(copy.size, model.size)
      for (let offset = 0; offset < 20_100; offset += 7) assert.is(copy.has(offset), model.has(offset))
      const from = random.int(0, 21_000)
      assert.is(copy.countFrom(from), [...model].filter((offset) => offset >= from).length)
    }
  }
})

test('a checkpoint writes only pages that have changed, and full pages take no memory', () => {
  const letters = new RedrivenLetters()
  const store = new Store()
  for (let offset = 0; offset < 100 * redrivenPageOffsets; offset++) letters.add(offset)
  letters.save(store, 0)
  assert.is(store.puts, 100)
  assert.is(
    [...store.pages.values()].reduce((sum, { length }) => sum + length, 0),
    0,
  )
  letters.add(200 * redrivenPageOffsets)
  letters.save(store, 0)
  letters.save(store, 0)
  assert.is(store.puts, 101)
  assert.is(loaded(store).size, letters.size)
})

test('removes offsets that retention dropped', () => {
  const letters = new RedrivenLetters()
  const store = new Store()
  for (let page = 0; page < 10; page++) letters.add(page * redrivenPageOffsets + 5)
  letters.save(store, 0)
  letters.save(store, 7 * redrivenPageOffsets)
  assert.equal([letters.pages, letters.size, store.pages.size], [3, 3, 3])
  letters.drop(store)
  assert.equal([letters.pages, letters.size, store.pages.size], [0, 0, 0])
})

test('redriven letters stay redriven after a restart', async (context) => {
  const dir = await context.tempDir()
  const harness = await Harness.start(context, { engine: 'level', dir })
  const group = 'crew'
  const workerId = 'worker-1'
  const topicId = await harness.createTopic('tasks')
  await harness.publish(topicId, 0, ['a', 'b', 'c'])
  const raw = await connectHello(harness.broker.address)
  context.defer(() => raw.destroy())
  await raw.request(commands.queueOpen, { group, workerId, topics: ['tasks'], concurrency: 1 })
  const wanted = { messagesMax: 3, bytesMax: 1e6, waitMs: 5_000, leaseMs: 60_000 }
  const { grantId } = (await raw.request(commands.queueLease, { group, workerId, ...wanted })).body
  const entry = { topicId, partition: 0, grantId, outcome: 'reject', offsets: [0, 3] } as const
  await raw.request(commands.queueSettle, { group, entries: [entry] })
  await raw.request(commands.queueRedrive, { group, offsets: [0, 2] })
  for (let starts = 0; starts < 2; starts++) {
    await harness.restartBroker(dir)
    const client = await harness.newClient()
    assert.is((await client.queues.describe(group)).dead, 1)
    const letters = []
    for await (const letter of client.queues.deadLetters(group)) letters.push(letter.offset)
    assert.equal(letters, [2])
  }
})

test.run()
