import * as assert from 'uvu/assert'
import { suite } from '../../helpers/suite.js'
import { type HandlerStart, judgeLeases, type LeaseHistory } from './leases.js'

const test = suite('faults/judges/leases')

const groups = [
  { name: 'once', attemptsMax: 1 },
  { name: 'thrice', attemptsMax: 3 },
]

/** Two groups and 20 messages, of which every fifth always fails. */
function goodHistory(): LeaseHistory {
  const published = Array.from({ length: 20 }, (_, index) => ({
    value: `m${index}`,
    ackedMs: index * 10,
    fails: index % 5 === 0,
  }))
  const starts: HandlerStart[] = []
  for (const { name: group, attemptsMax } of groups)
    for (const { value, ackedMs, fails } of published)
      for (let attempt = 1; attempt <= (fails ? attemptsMax : 1); attempt++)
        starts.push({ group, value, attempt, atMs: ackedMs + attempt * 5 })
  return {
    groups,
    published,
    starts: starts.sort((a, b) => a.atMs - b.atMs),
    acks: groups.flatMap(({ name: group }) =>
      published
        .filter(({ fails }) => !fails)
        .map(({ value, ackedMs }) => ({ group, value, atMs: ackedMs + 7 })),
    ),
    dead: groups.flatMap(({ name: group, attemptsMax }) =>
      published.filter(({ fails }) => fails).map(({ value }) => ({ group, value, attempts: attemptsMax })),
    ),
    downs: [],
    waitMsMax: 100,
  }
}

function checksOf(history: LeaseHistory): string[] {
  return [...new Set(judgeLeases(history).map(({ check }) => check))].sort()
}

function withStarts(change: (start: HandlerStart) => HandlerStart | undefined): LeaseHistory {
  const history = goodHistory()
  return { ...history, starts: history.starts.flatMap((start) => change(start) ?? []) }
}

const isOf = ({ group, value }: HandlerStart, ofGroup: string, ofValue: string): boolean =>
  group === ofGroup && value === ofValue

test('a correct history has no findings', () => {
  assert.equal(judgeLeases(goodHistory()), [])
})

test('a message may come again as the same attempt', () => {
  const history = goodHistory()
  const again = { group: 'thrice', value: 'm5', attempt: 1, atMs: 56 }
  const starts = [...history.starts, again].sort((a, b) => a.atMs - b.atMs)
  assert.equal(judgeLeases({ ...history, starts }), [])
})

test('a dead letter of a message that no handler saw is found', () => {
  assert.equal(checksOf(withStarts((start) => (isOf(start, 'once', 'm5') ? undefined : start))), [
    'dead-unseen',
  ])
  const history = goodHistory()
  const dead = [...history.dead, { group: 'once', value: 'm1', attempts: 1 }]
  const acks = history.acks.filter(({ group, value }) => group !== 'once' || value !== 'm1')
  assert.equal(checksOf({ ...history, dead, acks }), ['dead-without-failure'])
  assert.equal(checksOf({ ...history, dead }), ['acked-and-dead', 'dead-without-failure'])
})

test('an attempt that no handler saw is found, in the message and in the dead letter', () => {
  const counted = withStarts((start) =>
    isOf(start, 'thrice', 'm5') && start.attempt === 1 ? undefined : start,
  )
  assert.equal(checksOf(counted), ['attempt-invented'])
  const last = withStarts((start) => (isOf(start, 'thrice', 'm5') && start.attempt === 3 ? undefined : start))
  assert.equal(checksOf(last), ['attempt-invented'])
})

test('an attempt over the limit is found', () => {
  const history = goodHistory()
  const starts = [...history.starts, { group: 'once', value: 'm5', attempt: 2, atMs: 60 }]
  assert.equal(checksOf({ ...history, starts }), ['attempts-over-limit'])
})

test('a message that comes after its confirmed acknowledgement is found', () => {
  const history = goodHistory()
  const starts = [...history.starts, { group: 'once', value: 'm6', attempt: 1, atMs: 400 }]
  assert.equal(checksOf({ ...history, starts }), ['delivered-after-ack'])
})

test('a message that no handler gets, and a dead letter that is lost or doubled, are found', () => {
  const history = goodHistory()
  const lost = history.dead.filter(({ group, value }) => group !== 'once' || value !== 'm5')
  assert.equal(checksOf({ ...history, dead: lost }), ['dead-letter-lost'])
  assert.equal(checksOf({ ...history, dead: [...history.dead, ...history.dead.slice(0, 1)] }), ['dead-twice'])
  const unseen = withStarts((start) => (isOf(start, 'once', 'm6') ? undefined : start))
  assert.equal(checksOf(unseen), ['never-delivered'])
})

test('a message that waits longer than the bound is found, unless the broker was down', () => {
  const late = withStarts((start) => (isOf(start, 'thrice', 'm7') ? { ...start, atMs: 300 } : start))
  const acks = late.acks.map((ack) => (ack.value === 'm7' ? { ...ack, atMs: 310 } : ack))
  assert.equal(checksOf({ ...late, acks }), ['waited-too-long'])
  assert.equal(checksOf({ ...late, acks, downs: [{ fromMs: 80, toMs: 250 }] }), [])
  const retry = withStarts((start) =>
    isOf(start, 'thrice', 'm5') && start.attempt === 3 ? { ...start, atMs: 300 } : start,
  )
  assert.equal(checksOf(retry), ['waited-too-long'])
})

test.run()
