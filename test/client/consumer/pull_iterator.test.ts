import * as assert from 'uvu/assert'
import { PullIterator, type PullSource } from '../../../client/consumer/pull_iterator.js'
import { suite } from '../../helpers/suite.js'

const test = suite('client/consumer/pull_iterator')

interface Item {
  readonly n: number
}

class Source implements PullSource<Item> {
  readonly items: (Item | Promise<Item | undefined> | Error)[] = []
  closed = 0
  begun = 0
  end: { readonly error?: unknown } | undefined
  onPull: () => void = () => {}

  pull(): Item | undefined | Promise<Item | undefined> {
    this.onPull()
    const next = this.items.shift()
    if (next instanceof Error) throw next
    return next
  }

  begin(): void {
    this.begun++
  }

  ended(): { readonly error?: unknown } | undefined {
    return this.end
  }

  fail(error: unknown): void {
    this.end = { error }
  }

  close(): Promise<void> {
    this.closed++
    this.end = {}
    return Promise.resolve()
  }
}

function start(): { source: Source; iterator: PullIterator<Item>; done: () => number } {
  const source = new Source()
  let done = 0
  const iterator = new PullIterator(source, () => {
    done++
  })
  return { source, iterator, done: () => done }
}

const numberOf = ({ value }: IteratorResult<Item, undefined>): number | undefined => value?.n

test('calls of next that wait are served in order', async () => {
  const { source, iterator } = start()
  const waiting = [iterator.next(), iterator.next(), iterator.next()]
  source.items.push({ n: 1 }, { n: 2 })
  iterator.wake()
  source.items.push({ n: 3 })
  iterator.wake()
  assert.equal((await Promise.all(waiting)).map(numberOf), [1, 2, 3])
})

test('an item that takes time keeps its place', async () => {
  const { source, iterator } = start()
  const late = new Promise<Item>((resolve) => setImmediate(() => resolve({ n: 1 })))
  source.items.push(late, { n: 2 })
  const results = await Promise.all([iterator.next(), iterator.next()])
  assert.equal(results.map(numberOf), [1, 2])
})

test('a skipped item is followed by the next', async () => {
  const { source, iterator } = start()
  source.items.push(Promise.resolve(undefined), { n: 2 })
  assert.is(numberOf(await iterator.next()), 2)
})

test('a wake from inside a pull loses nothing', async () => {
  const { source, iterator } = start()
  source.onPull = () => iterator.wake()
  const waiting = [iterator.next(), iterator.next()]
  source.items.push({ n: 1 }, { n: 2 })
  iterator.wake()
  assert.equal((await Promise.all(waiting)).map(numberOf), [1, 2])
})

test('a pull that throws ends the iteration with its error, for all waiting calls', async () => {
  const { source, iterator } = start()
  const waiting = [iterator.next(), iterator.next()].map((one) => one.catch((error: Error) => error.message))
  source.items.push(new Error('damaged'))
  iterator.wake()
  assert.equal(await Promise.all(waiting), ['damaged', 'damaged'])
  assert.is(await iterator.next().catch((error: Error) => error.message), 'damaged')
})

test('an asynchronous item that fails ends the iteration with its error', async () => {
  const { source, iterator } = start()
  source.items.push(Promise.reject(new Error('late')))
  assert.is(await iterator.next().catch((error: Error) => error.message), 'late')
})

test('an ended source is done, and leaving the loop closes it', async () => {
  const { source, iterator, done } = start()
  source.items.push({ n: 1 })
  for await (const { n } of iterator) {
    assert.is(n, 1)
    break
  }
  assert.is(source.closed, 1)
  assert.is(done(), 1)
  assert.equal(await iterator.next(), { value: undefined, done: true })
})

test.run()
