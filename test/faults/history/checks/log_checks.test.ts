import { suite } from '../../../helpers/suite.js'
import { HandMade } from '../hand_made.js'
import { expectFindings, log } from './expect_findings.js'

const test = suite('faults/history/checks: the log')

function ab(): HandMade {
  return new HandMade().publish('p', 'a', 0).publish('p', 'b', 1)
}

test('lost-write: an acknowledged value that no drain has', () => {
  const history = new HandMade().publish('p', 'a', 0)
  history.outcome('p', history.begin('p', 'b'), 'ok', { partition: 0, offset: -1 })
  expectFindings(history.drains(log('a')), ['lost-write'], /'b'.*is not in drain 1 .* nor drain 2/)
})

test('lost-write: a drain that lacks its partition, and one only of the first drain', () => {
  const elsewhere = new HandMade().publish('p', 'a', 0).publish('q', 'b', 0, 1)
  expectFindings(elsewhere.drains(log('a')), ['lost-write', 'drain-incomplete'], /has not its partition/)
  const back = ab()
    .drain(1, [[1, 'b']], { startOffset: 1 })
    .drain(2, log('a', 'b'))
  expectFindings(back, ['lost-write', 'truncation'], /'a'.*is not in drain 1 .*though in drain 2/)
})

test('lost-write: not for records that were damaged or dropped on purpose', () => {
  const damaged = ab().drains(log('a'), { endOffset: 2, corrupt: [[1, 2]] })
  expectFindings(damaged, [], undefined, { rotInjected: true })
  const dropped = ab().drains([[1, 'b']])
  expectFindings(dropped, [], undefined, { retention: true })
  expectFindings(dropped, ['lost-write'])
})

test('lost-write: not for records that were acknowledged after the drain started', () => {
  expectFindings(ab().drains(log('a', 'b')).publish('p', 'c', 2), [])
})

test('phantom: a value that nobody published', () => {
  expectFindings(ab().drains(log('a', 'b', 'x')), ['phantom'], /'x' at t\/0 offset 2 .*nobody/)
})

test('phantom: a value that was read before it was published', () => {
  const history = new HandMade().publish('p', 'a', 0).delivered('r', log('a', 'b'), { group: null })
  expectFindings(history.publish('p', 'b', 1).drains(log('a', 'b')), ['phantom'], /'b'.*before/)
})

test('phantom: a value of another topic', () => {
  const history = ab()
  history.invoke('q', { op: 'publish', topic: 'u', value: 'c', lane: 'a' })
  expectFindings(history.drains(log('a', 'b', 'c')), ['phantom'], /'c'.* to u, is at t\/0/)
})

test('failed-write-read: a value whose publish has failed', () => {
  const history = ab()
  history.outcome('q', history.begin('q', 'c'), 'fail', { error: 'INVALID' })
  expectFindings(history.drains(log('a', 'b', 'c')), ['failed-write-read'], /'c'.*: fail/)
})

test('a publish of unknown outcome may be there or not, also late', () => {
  const history = new HandMade().publish('p', 'a', 0)
  history.outcome('q', history.begin('q', 'late'), 'info')
  history.begin('q', 'never')
  expectFindings(history.publish('p', 'b', 1).drains(log('a', 'b', 'late')), [])
})

test('read-lost: delivered, of unknown outcome, and gone', () => {
  const history = new HandMade().publish('p', 'a', 0)
  history.begin('q', 'c')
  history.delivered('r', log('a', 'c'), { group: null })
  expectFindings(history.drains(log('a')), ['read-lost'], /'c'.*t\/0 offset 1 in delivery to r/)
})

test('two-values-at-one-offset: a delivery against the drains, an acknowledgement against a drain', () => {
  const delivery = ab()
  delivery.begin('q', 'c')
  delivery.delivered('r', [[1, 'c']], { group: null })
  expectFindings(
    delivery.drains(log('a', 'b', 'c')),
    ['two-values-at-one-offset', 'one-value-at-two-offsets'],
    /t\/0 offset 1 is 'b' in drain 2 .*and 'c' in delivery to r/,
  )
  const acks = ab().publish('q', 'c', 1)
  expectFindings(acks.drains(log('a', 'b', 'c')), ['two-values-at-one-offset', 'acked-offset-differs'])
})

test('one-value-at-two-offsets: a duplicate, in one partition and across two', () => {
  expectFindings(ab().drains(log('a', 'b', 'b')), ['one-value-at-two-offsets', 'acked-offset-differs'])
  const unknown = new HandMade().publish('p', 'a', 0)
  unknown.begin('q', 'c')
  expectFindings(unknown.drains(log('a', 'c', 'c')), ['one-value-at-two-offsets'], /offset 1.*offset 2/)
  const across = new HandMade().publish('p', 'a', 0)
  across.begin('q', 'c')
  across.drains(log('a', 'c')).drains(log('c'), { partition: 1 })
  expectFindings(across, ['one-value-at-two-offsets'], /t\/0 offset 1.*t\/1 offset 0/)
})

test('acked-offset-differs: another offset, another partition', () => {
  expectFindings(
    ab()
      .publish('p', 'c', 3)
      .drains(log('a', 'b', 'c')),
    ['acked-offset-differs', 'truncation'],
    /'c'.* as t\/0 offset 3\), is at t\/0 offset 2/,
  )
  const other = ab().publish('q', 'c', -1, 1)
  other.drains(log('a', 'b', 'c')).drains([], { partition: 1 })
  expectFindings(other, ['acked-offset-differs'], /t\/1 offset -1\), is at t\/0 offset 2/)
})

test('real-time-order: acknowledged before the other was started', () => {
  const history = new HandMade()
  const c = history.begin('r', 'c')
  history.publish('p', 'a', -1).publish('q', 'b', -1).outcome('r', c, 'ok', { partition: 0, offset: 2 })
  expectFindings(history.drains(log('b', 'a', 'c')), ['real-time-order'], /'a'.*after 'b'/)
})

test('real-time-order: overlapping publishes may be in either order', () => {
  const history = new HandMade()
  const [a, b] = [history.begin('p', 'a'), history.begin('q', 'b')]
  history
    .outcome('p', a, 'ok', { partition: 0, offset: 1 })
    .outcome('q', b, 'ok', { partition: 0, offset: 0 })
  expectFindings(history.drains(log('b', 'a')), [])
})

test('publisher-order: pipelined publishes swapped, or not in the partition of their lane', () => {
  const swapped = new HandMade()
  const [a, b] = [swapped.begin('p', 'a'), swapped.begin('p', 'b')]
  swapped
    .outcome('p', a, 'ok', { partition: 0, offset: 1 })
    .outcome('p', b, 'ok', { partition: 0, offset: 0 })
  expectFindings(swapped.drains(log('b', 'a')), ['publisher-order'], /'b'.*before 'a'/)
  const strayed = new HandMade().publish('p', 'a', 0).publish('p', 'b', 0, 1)
  strayed.drains(log('a')).drains(log('b'), { partition: 1 })
  expectFindings(strayed, ['publisher-order'], /not in the partition of its lane/)
})

test('truncation: the end went back, the start moved on, a record is gone between the drains', () => {
  const history = new HandMade().publish('p', 'a', 0)
  history.begin('q', 'b')
  expectFindings(history.drain(1, log('a', 'b')).drain(2, log('a')), ['truncation'], /its end went back/)
  const start = new HandMade()
  start.begin('q', 'a')
  start.publish('p', 'b', 1)
  start.drain(1, log('a', 'b')).drain(2, [[1, 'b']])
  expectFindings(start, ['truncation'], /its start moved on/)
  expectFindings(start, [], undefined, { retention: true })
})

test('truncation: a record is gone between the drains', () => {
  const history = new HandMade()
  history.begin('q', 'a')
  history
    .publish('p', 'b', 1)
    .drain(1, log('a', 'b'))
    .drain(2, [[1, 'b']], { startOffset: 0 })
  expectFindings(history, ['truncation', 'drain-incomplete'], /drain 1 .*drain 2 .*'a' at offset 0 is gone/)
})

test('truncation: an end before acknowledged records', () => {
  const history = ab().drains(log('a'))
  expectFindings(history, ['truncation', 'lost-write'], /ends before 'b'/)
})

test('drain-incomplete: a hole, a record twice, a record beyond the end', () => {
  const hole = ab().drains(
    [
      [0, 'a'],
      [1, 'b'],
    ],
    { endOffset: 4 },
  )
  expectFindings(hole, ['drain-incomplete'], /nothing at offsets 2 to 3, at its end/)
  const inside = new HandMade().publish('p', 'a', 0).publish('p', 'b', 2)
  expectFindings(
    inside.drains([
      [0, 'a'],
      [2, 'b'],
    ]),
    ['drain-incomplete'],
    /nothing at offset 1, before 'b'/,
  )
  const twice = ab().drain(1, log('a', 'b')).drain(1, log('a', 'b')).drain(2, log('a', 'b'))
  expectFindings(twice, ['drain-incomplete'], /read 'a' at offset 0 after offset 1/)
  expectFindings(ab().drains(log('a', 'b'), { startOffset: 1 }), ['drain-incomplete'], /outside/)
})

test('drain-incomplete: corrupt offsets are no hole; corrupt-offsets says whether they should be', () => {
  const history = new HandMade().publish('p', 'a', 0).publish('p', 'b', 2)
  history.drains(
    [
      [0, 'a'],
      [2, 'b'],
    ],
    { corrupt: [[1, 2]] },
  )
  expectFindings(history, ['corrupt-offsets'], /t\/0 offsets 1 up to 2 are corrupt in drain 1/)
  expectFindings(history, [], undefined, { rotInjected: true })
})

test('a line of a history may have a part of a drain', () => {
  const history = ab().publish('p', 'c', 2)
  history.drain(1, log('a', 'b'), { endOffset: 3 }).drain(1, [[2, 'c']], { startOffset: 0 })
  expectFindings(history.drain(2, log('a', 'b', 'c')), [])
})

test.run()
