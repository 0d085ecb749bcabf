import { rabbitClassic, rabbitQuorum } from '../../bench/peers/rabbitmq/index.js'
import { suite } from '../helpers/suite.js'
import { worksAndLeavesNothing } from './contender_contract.js'

const test = suite('bench/peers/rabbitmq')

for (const contender of [rabbitClassic, rabbitQuorum])
  test(
    `${contender.id} works and leaves nothing behind`,
    (context) => worksAndLeavesNothing(contender, context),
    { deadlineMs: 90_000 },
  )

test.run()
