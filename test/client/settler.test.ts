import * as assert from 'uvu/assert'
import { Settler } from '../../client/worker/settler.js'
import { MillraceError } from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'
import { waitFor } from '../helpers/wait_for.js'

const test = suite('client/settler')

test('failures that the broker has no memory for do not delay acknowledgements', async (context) => {
  let isFull = true
  const confirmed: number[] = []
  const failures: unknown[] = []
  const settler = new Settler<{ place: { topicId: 1; partition: 0; grantId: 1; offset: number } }>({
    send: async (entries) => {
      if (isFull && entries.some(({ outcome }) => outcome === 'reject'))
        throw new MillraceError('STORAGE_FULL')
      return { refused: [] }
    },
    refused: () => {},
    failed: (error) => failures.push(error),
    confirmed: ({ place }) => confirmed.push(place.offset),
    ended: () => {},
  })
  context.defer(() => settler.close())
  const message = (offset: number) => ({ place: { topicId: 1, partition: 0, grantId: 1, offset } }) as const
  for (let turn = 0; turn < 10; turn++) {
    settler.add(message(turn * 2), { outcome: 'reject', error: 'no' })
    settler.add(message(turn * 2 + 1), { outcome: 'ack' })
    await new Promise((resolve) => setImmediate(resolve))
  }
  await waitFor('the acknowledgements', () => confirmed.length === 10)
  assert.ok(confirmed.every((offset) => offset % 2 === 1))
  assert.ok(failures.length > 0)
  assert.not(settler.isIdle)
  isFull = false
  await settler.idle()
  assert.is(new Set(confirmed).size, 20)
})

test.run()
