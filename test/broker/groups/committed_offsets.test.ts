import * as assert from 'uvu/assert'
import { CommittedOffsets } from '../../../broker/groups/committed_offsets.js'
import { decodeOffsetsCommitted, encodeOffsetsCommitted } from '../../../broker/groups/ops.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/groups/committed_offsets')

test('keeps the last commit of each partition', () => {
  const offsets = new CommittedOffsets()
  offsets.set('billing', 1_000, [
    [1, 0, 5, 'first'],
    [1, 3, 7, undefined],
  ])
  offsets.set('billing', 2_000, [[1, 0, 4, undefined]])
  assert.equal(offsets.get('billing', 1, 0), { offset: 4, metadata: undefined, committedAtMs: 2_000 })
  assert.equal(offsets.get('billing', 1, 3), { offset: 7, metadata: undefined, committedAtMs: 1_000 })
  assert.is(offsets.get('billing', 1, 1), undefined)
  assert.is(offsets.get('billing', 2, 0), undefined)
  assert.is(offsets.get('mail', 1, 0), undefined)
  assert.is(offsets.lastCommitMs('billing'), 2_000)
})

test('names each page that changed once', () => {
  const offsets = new CommittedOffsets()
  const pages = offsets.set('billing', 1, [
    [1, 0, 5, undefined],
    [1, 31, 5, undefined],
    [1, 32, 5, undefined],
    [2, 0, 5, undefined],
  ])
  assert.equal(pages, [
    { group: 'billing', topicId: 1, page: 0 },
    { group: 'billing', topicId: 1, page: 1 },
    { group: 'billing', topicId: 2, page: 0 },
  ])
})

test('reads pages back as they were written', () => {
  const offsets = new CommittedOffsets()
  const [page] = offsets.set('billing', 1_000, [
    [7, 33, 5, 'note'],
    [7, 34, 0, undefined],
  ])
  offsets.set('billing', 2_000, [[7, 34, 9, undefined]])
  const copy = new CommittedOffsets()
  assert.ok(page)
  copy.loadPage(page, offsets.encodePage(page))
  for (const partition of [33, 34]) {
    assert.equal(copy.get('billing', 7, partition), offsets.get('billing', 7, partition))
  }
  assert.is(copy.lastCommitMs('billing'), 2_000)
  assert.is(copy.bytes, offsets.bytes)
})

test('removes groups and topics, with their bytes', () => {
  const offsets = new CommittedOffsets()
  offsets.set('billing', 1, [[1, 40, 5, 'metadata']])
  offsets.set('billing', 1, [[2, 0, 5, 'metadata']])
  offsets.set('mail', 1, [[1, 0, 5, undefined]])
  assert.equal(
    offsets.deleteTopic(1).map(({ group, page }) => [group, page]),
    [
      ['billing', 0],
      ['billing', 1],
      ['mail', 0],
    ],
  )
  assert.not(offsets.has('mail'), 'a group without offsets is gone')
  assert.ok(offsets.has('billing'))
  assert.equal(offsets.deleteGroup('billing'), [{ group: 'billing', topicId: 2, page: 0 }])
  assert.equal([...offsets.groups], [])
  assert.is(offsets.bytes, 0)
  assert.equal(offsets.deleteGroup('billing'), [])
})

test('writes its operation in the documented format', () => {
  const committed = {
    group: 'billing',
    committedAtMs: 1_700_000_000_000,
    entries: [
      [1, 2, 3, 'note'],
      [4, 5, 6, undefined],
    ],
  } as const
  const payload = encodeOffsetsCommitted(committed)
  assert.is(
    Buffer.from(payload).toString('hex'),
    '93a762696c6c696e67cb4278bcfe568000009294010203a46e6f746594040506c0',
  )
  assert.equal(decodeOffsetsCommitted(payload), committed)
})

test.run()
