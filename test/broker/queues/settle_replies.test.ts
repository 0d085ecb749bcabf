import * as assert from 'uvu/assert'
import { SettleReplies } from '../../../broker/queues/settle_replies.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/queues/settle_replies')

type Reply = Awaited<ReturnType<Parameters<SettleReplies['answer']>[2]>>

const refusing = (offset: number): Reply => ({ refused: [[0, offset]] })

test('a repeat gets the reply of the first request, also before that is sent', async () => {
  const replies = new SettleReplies()
  let finish = (_reply: Reply): void => {}
  const never = (): Promise<Reply> => Promise.reject(new Error('it was settled twice'))
  const first = replies.answer('a', 7, () => new Promise((resolve) => (finish = resolve)))
  const repeat = replies.answer('a', 7, never)
  finish(refusing(3))
  assert.equal(await first, refusing(3))
  assert.equal(await repeat, refusing(3))
  assert.equal(await replies.answer('a', 7, never), refusing(3))
  assert.equal(await replies.answer('b', 7, async () => refusing(4)), refusing(4))
})

test('a failed request is executed again', async () => {
  const replies = new SettleReplies()
  const failed = await replies
    .answer('a', 1, () => Promise.reject(new Error('the disk is full')))
    .catch((error: unknown) => error)
  assert.instance(failed, Error)
  assert.equal(await replies.answer('a', 1, async () => refusing(1)), refusing(1))
})

test('it keeps the last replies of each worker for two minutes', async () => {
  let nowMs = 0
  const replies = new SettleReplies(() => nowMs)
  for (let number = 0; number < 20; number++) await replies.answer('a', number, async () => refusing(number))
  assert.equal(await replies.answer('a', 4, async () => refusing(-1)), refusing(4))
  assert.equal(await replies.answer('a', 3, async () => refusing(-1)), refusing(-1))
  nowMs = 120_001
  await replies.answer('b', 0, async () => refusing(0))
  assert.is(replies.workers, 1)
})

test('replies with many messages evict each other', async () => {
  const replies = new SettleReplies()
  const refused = Array.from({ length: 100_000 }, (_, i) => [0, i] as [number, number])
  for (let worker = 0; worker < 30; worker++)
    await replies.answer(`worker-${worker}`, 1, async () => ({ refused }))
  assert.is(replies.refused, 1_000_000)
  assert.is(replies.workers, 10)
  assert.equal(await replies.answer('worker-29', 1, async () => refusing(1)), { refused })
  for (let number = 2; number < 30; number++)
    await replies.answer('worker-29', number, async () => refusing(1))
  // One more entry had to leave before the large answer was the oldest of its worker.
  assert.is(replies.refused, 800_016)
})

test.run()
