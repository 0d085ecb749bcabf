import * as assert from 'uvu/assert'
import { suite } from '../../helpers/suite.js'
import { judgeRecreated, type RecreatedHistory, type RecreatedRead } from './recreated.js'

const test = suite('faults/judges/recreated')

const kinds = ['alone', 'queue']

/** Three topics after each other, of which the second was deleted before everything had been read. */
function goodHistory(): RecreatedHistory {
  const generations = [
    { createdMs: 0, deletingMs: 100, owedUntilMs: 90 },
    { createdMs: 110, deletingMs: 200, owedUntilMs: undefined },
    { createdMs: 210, deletingMs: Number.POSITIVE_INFINITY, owedUntilMs: 290 },
  ]
  const published = Array.from({ length: 29 }, (_, index) => ({
    value: `m${index}`,
    begunMs: index * 10 + 1,
    ackedMs: index * 10 + 5,
  }))
  const reads = kinds.flatMap((kind) =>
    published
      .filter(({ value }) => value !== 'm19')
      .map(
        ({ value, ackedMs }, index): RecreatedRead => ({
          reader: `${kind}-1`,
          kind,
          value,
          partition: index % 2,
          atMs: ackedMs + 1,
        }),
      ),
  )
  const log = published
    .filter(({ begunMs }) => begunMs > 210)
    .map(({ value }, offset) => ({ value, partition: 0, offset }))
  return { kinds, generations, published, reads, ends: [], log }
}

function checksOf(history: RecreatedHistory): string[] {
  return [...new Set(judgeRecreated(history).map(({ check }) => check))].sort()
}

function withRead(read: Partial<RecreatedRead>): RecreatedHistory {
  const history = goodHistory()
  const all: RecreatedRead = { reader: 'alone-1', kind: 'alone', value: 'm3', partition: 0, atMs: 0, ...read }
  return { ...history, reads: [...history.reads, all] }
}

test('a correct history has no findings', () => {
  assert.equal(judgeRecreated(goodHistory()), [])
})

test('readers may end with a named error, and messages may come again', () => {
  const ends = [{ reader: 'alone-1', code: 'UNKNOWN_TOPIC', text: 'topic "again" was deleted' }]
  assert.equal(judgeRecreated({ ...goodHistory(), ends }), [])
  assert.equal(judgeRecreated(withRead({ value: 'm25' })), [])
  assert.equal(judgeRecreated(withRead({ reader: 'alone-2', value: 'm3' })), [], 'a reader that begins')
})

test('a message that one kind of reader did not get is found', () => {
  const history = goodHistory()
  const reads = history.reads.filter(({ kind, value }) => kind !== 'queue' || value !== 'm24')
  assert.equal(checksOf({ ...history, reads }), ['undelivered'])
})

test('a message whose publish met a deletion may be anywhere, or nowhere', () => {
  const history = goodHistory()
  const published = [...history.published, { value: 'x', begunMs: 195, ackedMs: 220 }]
  assert.equal(judgeRecreated({ ...history, published }), [])
  const log = [...history.log, { value: 'x', partition: 0, offset: 90 }]
  assert.equal(judgeRecreated({ ...history, published, log }), [])
})

test('a message of an old topic after one of the new is found', () => {
  assert.equal(checksOf(withRead({ value: 'm3' })), ['old-in-new'])
})

test('a record of an old topic, a missing and a doubled one in the log are found', () => {
  const history = goodHistory()
  const old = { value: 'm3', partition: 0, offset: 90 }
  assert.equal(checksOf({ ...history, log: [...history.log, old] }), ['old-in-log'])
  assert.equal(checksOf({ ...history, log: history.log.slice(1) }), ['lost-write'])
  const twice = { value: 'm25', partition: 1, offset: 90 }
  assert.equal(checksOf({ ...history, log: [...history.log, twice] }), ['one-value-at-two-offsets'])
  const phantom = { value: 'y', partition: 1, offset: 90 }
  assert.equal(checksOf({ ...history, log: [...history.log, phantom] }), ['phantom'])
})

test('a reader that ends without a named error is found', () => {
  const ends = [{ reader: 'alone-1', code: undefined, text: 'the loop ended' }]
  assert.equal(checksOf({ ...goodHistory(), ends }), ['ended-without-name'])
})

test.run()
