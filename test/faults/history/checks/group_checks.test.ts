import { suite } from '../../../helpers/suite.js'
import { HandMade } from '../hand_made.js'
import { expectFindings, log } from './expect_findings.js'

const test = suite('faults/history/checks: groups')

/** Published 0 a to 3 d. */
function abcd(): HandMade {
  return ['a', 'b', 'c', 'd'].reduce(
    (made, value, offset) => made.publish('p', value, offset),
    new HandMade(),
  )
}

function drained(history: HandMade): HandMade {
  return history.drains(log('a', 'b', 'c', 'd'))
}

const [a, b, c, d] = [
  [0, 'a'],
  [1, 'b'],
  [2, 'c'],
  [3, 'd'],
] as const

test('a group that moves a partition between members has no findings', () => {
  const history = abcd().assigned('m', 1).delivered('m', [a, b, c]).processed('m', [0, 1]).commit('m', 2, 1)
  history
    .committed(2)
    .revoked('m')
    .assigned('n', 2)
    .delivered('n', [c, d])
    .processed('n', [2, 3])
    .commit('n', 4, 2)
  expectFindings(drained(history.committed(4)), [])
})

test('poll-skip: a gap under one assignment, and none where the final drain has nothing', () => {
  const history = abcd().assigned('m', 1).delivered('m', [a]).delivered('m', [d])
  expectFindings(
    drained(history),
    ['poll-skip'],
    /m \(assigned at .*'d' at offset 3 .*not 'b' at offset 1 \(2 skipped\)/,
  )
  const gone = abcd().assigned('r', undefined, null).delivered('r', [a, d], { group: null })
  expectFindings(gone.drains([d]), [], undefined, { retention: true })
})

test('poll-back: a message again under one assignment, and not after the next one', () => {
  const history = abcd().assigned('m', 1).delivered('m', [a, b]).delivered('m', [b, c])
  expectFindings(drained(history), ['poll-back'], /'b' at offset 1 at .* after 'b' at offset 1/)
  const again = abcd().assigned('m', 1).delivered('m', [a, b]).assigned('m', 2).delivered('m', [a, b])
  expectFindings(drained(again), [])
})

test('assignment-skip: the next owner starts after messages that no member processed', () => {
  const history = abcd().assigned('m', 1).delivered('m', [a, b]).processed('m', [0]).commit('m', 1, 1)
  history.assigned('n', 2).delivered('n', [c, d])
  expectFindings(drained(history), ['assignment-skip'], /n .*begins with 'c' .*'b' at offset 1 \(1 such/)
})

test('stale-commit: under an old epoch', () => {
  const history = abcd().assigned('m', 1).delivered('m', [a, b]).processed('m', [0, 1])
  history.assigned('n', 2).commit('m', 2, 1)
  expectFindings(
    drained(history),
    ['stale-commit'],
    /commit by m .*epoch 1\) of offset 2 .*n was assigned it .*epoch 2/,
  )
})

test('stale-commit: without epochs by the last assignment, back to the first owner included', () => {
  const history = () => abcd().assigned('m').delivered('m', [a, b]).processed('m', [0, 1]).assigned('n')
  expectFindings(drained(history().commit('m', 2)), ['stale-commit'])
  expectFindings(drained(history().revoked('n').commit('m', 2)), ['stale-commit'])
  expectFindings(drained(history().revoked('n').assigned('m').commit('m', 2)), [])
})

test('stale-commit: not one that was refused, or begun before, or beside an old assignment noted late', () => {
  const begun = () => abcd().assigned('m', 2).delivered('m', [a, b]).processed('m', [0, 1])
  const call = { op: 'commit', group: 'g', topic: 't', partition: 0, offset: 2, epoch: 2 } as const
  const refused = begun().assigned('n', 3)
  refused.outcome('m', refused.invoke('m', call), 'fail', { error: 'FENCED' })
  expectFindings(drained(refused), [])
  const before = begun()
  const id = before.invoke('m', call)
  expectFindings(drained(before.assigned('n', 3).outcome('m', id, 'ok')), [])
  expectFindings(drained(begun().assigned('zombie', 1).commit('m', 2, 2)), [])
})

test('double-owner: one epoch, two processes', () => {
  const history = abcd().assigned('m', 1).delivered('m', [a]).assigned('n', 1)
  expectFindings(drained(history), ['double-owner'], /epoch 1 to m at .* and to n at/)
})

test('committed-goes-back: below a confirmed commit, below an earlier read, none any more', () => {
  const begun = () => abcd().assigned('m', 1).delivered('m', [a, b, c]).processed('m', [0, 1, 2])
  const below = begun().commit('m', 3, 1).committed(2)
  expectFindings(
    drained(below),
    ['committed-goes-back'],
    /committed by admin .* is 2, after commit by m .* was 3/,
  )
  const call = { op: 'commit', group: 'g', topic: 't', partition: 0, offset: 3, epoch: 1 } as const
  const unknown = () => {
    const made = begun()
    return made.outcome('m', made.invoke('m', call), 'info')
  }
  expectFindings(drained(unknown().committed(-1).committed(3)), [])
  const lost = unknown().committed(3).committed(-1)
  expectFindings(drained(lost), ['committed-goes-back'], /is -1, after committed by admin .* was 3/)
})

test('committed-goes-back: a read beside a commit may be either', () => {
  const history = abcd().assigned('m', 1).delivered('m', [a]).processed('m', [0])
  const read = history.invoke('admin', { op: 'committed', group: 'g', topic: 't', partition: 0 })
  expectFindings(drained(history.commit('m', 1, 1).outcome('admin', read, 'ok', { offset: -1 })), [])
})

test('committed-redelivered: messages before a confirmed commit come again', () => {
  const history = abcd().assigned('m', 1).delivered('m', [a, b]).processed('m', [0, 1]).commit('m', 2, 1)
  history.assigned('n', 2).delivered('n', [b, c])
  expectFindings(drained(history), ['committed-redelivered'], /n .*'b' at offset 1 .* offset 2 was confirmed/)
})

test('committed-redelivered: an old assignment that is noted late need not know newer commits', () => {
  const history = abcd().assigned('m', 2).delivered('m', [a, b]).processed('m', [0, 1]).commit('m', 2, 2)
  expectFindings(drained(history.assigned('zombie', 1).delivered('zombie', [a])), [])
})

test('committed-unprocessed: a commit or a read passes a message, or the processing came later', () => {
  const begun = () => abcd().assigned('m', 1).delivered('m', [a, b, c])
  const early = begun().processed('m', [0, 2]).commit('m', 3, 1).processed('m', [1])
  expectFindings(
    drained(early),
    ['committed-unprocessed'],
    /commit by m .* says 3, .*'b' at offset 1 \(1 such/,
  )
  const read = begun().processed('m', [0]).committed(3)
  expectFindings(drained(read), ['committed-unprocessed'], /committed by admin .* says 3/)
})

test('committed-unprocessed: a group that started at another offset needs only its delivered messages', () => {
  const history = abcd().assigned('m', 1).delivered('m', [c, d]).processed('m', [2, 3]).commit('m', 4, 1)
  expectFindings(drained(history), ['assignment-skip', 'committed-unprocessed'])
  expectFindings(history, [], undefined, { groupsBegin: 'first-delivery' })
})

test('group-missed: a message below the last committed offset was delivered to no member', () => {
  const history = abcd().assigned('m', 1).delivered('m', [a, b]).processed('m', [0, 1, 2]).committed(3)
  expectFindings(drained(history), ['group-missed'], /is 3, and 'c' at 2 was delivered to no member/)
})

test('no-recovery: nothing succeeds after healing, or too late', () => {
  const never = abcd().fault('inject').fault('heal')
  never.outcome('p', never.begin('p', 'x'), 'info')
  expectFindings(drained(never), ['no-recovery'], /kill was healed at .*none of 1 publishes/)
  const quiet = abcd().fault('inject').fault('heal')
  quiet.begin('p', 'x')
  expectFindings(drained(quiet), [])
  const late = abcd().fault('inject').fault('heal')
  late.tick(2_000_000)
  late.publish('p', 'e', 4).drains(log('a', 'b', 'c', 'd', 'e'))
  expectFindings(late, ['no-recovery'], /only 2000.02 ms later/, { recoveryMsMax: 1_000 })
  expectFindings(late, [])
})

test.run()
