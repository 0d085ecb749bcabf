import * as assert from 'uvu/assert'
import { kafkaFsync, kafkaJs } from '../../bench/peers/kafka/index.js'
import {
  consumerReport,
  producerReport,
  rateOfConsumer,
  rateOfProducer,
} from '../../bench/peers/kafka/output.js'
import { suite } from '../helpers/suite.js'
import { worksAndLeavesNothing } from './contender_contract.js'

const test = suite('bench/peers/kafka')

for (const contender of [kafkaFsync, kafkaJs])
  test(
    `${contender.id} works and leaves nothing behind`,
    (context) => worksAndLeavesNothing(contender, context),
    { deadlineMs: 90_000 },
  )

const producerOutput = `Reading payloads from: /tmp/payload
Number of records read: 1
829284 records sent, 824338.0 records/sec (78.61 MB/sec), 706.8 ms avg latency, 830.0 ms max latency.
3 records sent, 6.0 records/sec (0.00 MB/sec), 12.0 ms avg latency, 14.0 ms max latency.
0 records sent, 0.0 records/sec (0.00 MB/sec), NaN ms avg latency, 0.0 ms max latency.
829287 records sent, 549561.3 records/sec (52.41 MB/sec), 706.79 ms avg latency, 830.00 ms max latency, 700 ms 50th, 800 ms 95th, 820 ms 99th, 829 ms 99.9th.`

test('reads what kafka-producer-perf-test reports of each interval, and not its summary', () => {
  const reports = producerOutput.split('\n').map(producerReport)
  assert.equal(
    reports.map((report) => report?.messages),
    [undefined, undefined, 829_284, 3, undefined, undefined],
  )
  assert.is(reports[3]?.seconds, 0.5)
})

test('takes the rate of a producer over the time of its intervals', () => {
  const reports = [
    { messages: 100, seconds: 0.5 },
    { messages: 500, seconds: 1.5 },
  ]
  assert.is(rateOfProducer(reports), 300)
  assert.throws(() => rateOfProducer([]), /reported nothing/)
})

const consumerOutput = `time, threadId, data.consumed.in.MB, MB.sec, data.consumed.in.nMsg, nMsg.sec, rebalance.time.ms, fetch.time.ms, fetch.MB.sec, fetch.nMsg.sec
2026-11-23 07:59:59:900, 0, 17.9005, 17.5666, 1000, 184199.2149, 0, 1019, 17.5666, 184199.2149
2026-11-23 08:00:00:400, 0, 41.9448, 23.8299, 4000, 249874.1328, 0, 1009, 23.8299, 249874.1328
2026-11-23 07:59:58:900, 2026-11-23 08:00:00:400, 41.9448, 23.8, 4000, 2666.6, 1013, 487, 8.5, 820.1`

test('reads how much kafka-consumer-perf-test has received at which time, and not its summary', () => {
  const reports = consumerOutput.split('\n').map(consumerReport)
  assert.equal(
    reports.map((report) => report?.messages),
    [undefined, 1_000, 4_000, undefined],
  )
  const received = reports.filter((report) => report !== undefined)
  assert.is(rateOfConsumer(received), 6_000)
  assert.throws(() => rateOfConsumer(received.slice(1)), /reported nothing/)
})

test.run()
