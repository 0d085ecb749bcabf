import * as assert from 'uvu/assert'
import { BrokerProcess } from '../faults/trial/broker_process.js'
import { QueueWork } from '../faults/workloads/queue_work.js'
import { suite } from '../helpers/suite.js'

const test = suite('e2e/queue_crash')

const rounds = 20
const settledPerRound = 300

test(
  `after ${rounds} kills under load every message is done or a dead letter, and none comes after its confirmed acknowledgement`,
  async (context) => {
    const random = context.random()
    const dir = await context.tempDir()
    let broker = await BrokerProcess.start(context, { dir })
    const work = await QueueWork.start(context, broker.server)
    for (let round = 0; round < rounds; round++) {
      await work.progress(random.int(1, settledPerRound))
      await broker.kill()
      broker = await BrokerProcess.start(context, { dir, port: broker.port })
    }
    const { findings } = await work.conclude()
    assert.equal(findings, [])
  },
  { deadlineMs: 150_000 },
)

test.run()
