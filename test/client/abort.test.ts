import { getEventListeners } from 'node:events'
import * as assert from 'uvu/assert'
import { onAbort } from '../../client/abort.js'
import { pause } from '../../client/backoff.js'
import { suite } from '../helpers/suite.js'
import { Harness } from './consumer/harness.js'

const test = suite('client/abort')

test('a signal has one listener however many wait for it, and none when nobody does', () => {
  const controller = new AbortController()
  const { signal } = controller
  const called: number[] = []
  const ends = Array.from({ length: 20 }, (_, n) => onAbort(signal, () => called.push(n)))
  assert.is(getEventListeners(signal, 'abort').length, 1)
  for (const [n, end] of ends.entries()) if (n !== 3 && n !== 7) end()
  assert.is(getEventListeners(signal, 'abort').length, 1)
  controller.abort()
  assert.equal(called, [3, 7])
  assert.is(getEventListeners(signal, 'abort').length, 0)
  for (const end of ends) end()
})

test('the last one that ends its wait removes the listener, and a later one adds it again', () => {
  const controller = new AbortController()
  const { signal } = controller
  const callback = (): void => void calls++
  let calls = 0
  const ends = [onAbort(signal, callback), onAbort(signal, callback)]
  for (const end of ends) end()
  assert.is(getEventListeners(signal, 'abort').length, 0)
  onAbort(signal, callback)
  onAbort(signal, callback)
  controller.abort()
  assert.is(calls, 2)
})

test('a pause ends when its signal is aborted, or was before', async () => {
  const controller = new AbortController()
  const paused = Promise.all(Array.from({ length: 12 }, () => pause(600_000, controller.signal)))
  assert.is(getEventListeners(controller.signal, 'abort').length, 1)
  controller.abort()
  await paused
  await pause(600_000, controller.signal)
})

test('many calls, consumers and workers of a client share one signal without a warning of a leak', async (context) => {
  const harness = await Harness.start(context)
  await harness.createTopic('t', 1)
  const { client } = harness
  const warnings: Error[] = []
  const warned = (warning: Error): void => void warnings.push(warning)
  process.on('warning', warned)
  context.defer(() => process.off('warning', warned))
  const controller = new AbortController()
  const { signal } = controller
  const consumers = Array.from({ length: 12 }, () => client.consume('t', { signal }))
  const workers = Array.from({ length: 12 }, (_, n) => client.work('t', { group: `g${n}`, signal }, () => {}))
  await Promise.all(Array.from({ length: 30 }, () => client.topics.describe('t', { signal })))
  await Promise.all(
    Array.from({ length: 30 }, () => client.publish('t', { value: Buffer.of(1) }, { signal })),
  )
  assert.is(getEventListeners(signal, 'abort').length, 1)
  controller.abort()
  await Promise.all([...consumers, ...workers].map((one) => one.close()))
  assert.is(getEventListeners(signal, 'abort').length, 0)
  assert.equal(
    warnings.map(({ name }) => name).filter((name) => name === 'MaxListenersExceededWarning'),
    [],
  )
})

test.run()
