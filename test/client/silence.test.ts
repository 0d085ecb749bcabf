import * as assert from 'uvu/assert'
import { Silence } from '../../client/silence.js'
import { suite } from '../helpers/suite.js'

const test = suite('client/silence')

test('on an idle connection the silence starts with the next request', () => {
  const silence = new Silence(100)
  silence.sent(0, 10, 0)
  silence.heard(5)
  silence.sent(10_000, 10, 0)
  assert.not.ok(silence.isTooLong(10_100))
  assert.ok(silence.isTooLong(10_101))
})

test('more requests do not make a silent peer live longer', () => {
  const silence = new Silence(100)
  for (let owed = 0; owed < 10; owed++) silence.sent(owed * 20, 10, owed)
  assert.ok(silence.isTooLong(180))
})

test('the request with the longest timeout counts, until all are answered', () => {
  const silence = new Silence(100)
  silence.sent(0, 500, 0)
  silence.sent(0, 10, 1)
  assert.not.ok(silence.isTooLong(500))
  assert.ok(silence.isTooLong(501))
  silence.heard(501)
  assert.not.ok(silence.isTooLong(1_001))
  silence.sent(2_000, 10, 0)
  assert.ok(silence.isTooLong(2_101))
})

test.run()
