import * as assert from 'uvu/assert'
import { GrowthMeter, type GrowthPoint, growthSizes } from '../../bench/lib/growth.js'
import type { Sample } from '../../bench/lib/worker.js'
import { suite } from '../helpers/suite.js'

const test = suite('bench/growth')

test('measures at 1, 2 and 5 and their tenfolds, and at the size itself', () => {
  assert.equal(growthSizes(1), [1])
  assert.equal(growthSizes(10), [1, 2, 5, 10])
  assert.equal(growthSizes(30), [1, 2, 5, 10, 20, 30])
})

test('reports rate and processor time over the interval before each size', () => {
  const meter = new GrowthMeter([1, 2], 0.5)
  const points: GrowthPoint[] = []
  // 100 MB a second of 1,000 bytes each; from 1 GB on a message costs the broker twice as much.
  for (let megabytes = 0; megabytes <= 2_000; megabytes += 100) {
    const messages = megabytes * 1_000
    const brokerUs = messages * 5 + Math.max(messages - 1_000_000, 0) * 5
    const point = meter.observe(
      sampleOf({ messages, bytes: megabytes * 1e6, timeMs: megabytes * 10, cpuMs: messages / 1_000 }),
      sampleOf({ cpuMs: brokerUs / 1_000 }),
    )
    if (point !== undefined) points.push(point)
  }
  assert.equal(
    points.map(({ gigabytes, brokerUsPerMessage, usPerMessage }) => [
      gigabytes,
      brokerUsPerMessage,
      usPerMessage,
    ]),
    [
      [1, 5, 6],
      [2, 10, 11],
    ],
  )
  for (const { messagesPerS, mbPerS } of points) assert.equal([messagesPerS, mbPerS], [100_000, 100])
})

function sampleOf(part: Partial<Sample>): Sample {
  return { messages: 0, bytes: 0, timeMs: 0, cpuMs: 0, rssBytes: 0, rssFileBytes: 0, ...part }
}

test.run()
