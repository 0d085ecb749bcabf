import * as assert from 'uvu/assert'
import { CheckpointSchedule } from '../../storage/checkpoint_schedule.js'
import { suite } from '../helpers/suite.js'

const test = suite('storage/checkpoint_schedule')

const mebibyte = 1024 * 1024

test('a busy journal gets a checkpoint at every interval, a quiet one at every fifth', () => {
  const schedule = new CheckpointSchedule(1_000, 0)
  schedule.grown(1_000)
  assert.equal(
    [1_000, 2_000, 4_000, 4_990].map((ms) => schedule.isDue(ms)),
    [false, false, false, true],
  )
  schedule.begun(5_000)
  schedule.ended(5_010)
  assert.not(schedule.isDue(6_000))
  schedule.grown(5 * mebibyte)
  assert.ok(schedule.isDue(6_000))
})

test('checkpoints that take long come less often, but replay stays bounded', () => {
  const schedule = new CheckpointSchedule(1_000, 0)
  schedule.begun(1_000)
  schedule.ended(1_500)
  schedule.grown(5 * mebibyte)
  assert.not(schedule.isDue(3_000))
  assert.ok(schedule.isDue(3_500))
  schedule.grown(256 * mebibyte)
  assert.ok(schedule.isDue(2_000))
})

test.run()
