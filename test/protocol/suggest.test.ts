import * as assert from 'uvu/assert'
import { nearestName, suggestion } from '../../protocol/index.js'
import { suite } from '../helpers/suite.js'

const test = suite('protocol/suggest')
const known = ['orders', 'order-items', 'payments', 'users']

test('finds the nearest name, whatever its case', () => {
  assert.is(nearestName('ordres', known), 'orders')
  assert.is(nearestName('Payment', known), 'payments')
  assert.is(nearestName('USERS', known), 'users')
})

test('suggests nothing when nothing is near', () => {
  assert.is(nearestName('invoices', known), undefined)
  assert.is(nearestName('', known), undefined)
  assert.is(suggestion('invoices', known), '')
  assert.is(suggestion('user', known), '; did you mean "users"?')
})

test('compares at most 2,000 names, and none with a long name', () => {
  let compared = 0
  function* many() {
    for (let i = 0; i < 20_000; i++) {
      compared++
      yield `${'a'.repeat(60)}${i}`
    }
  }
  assert.is(nearestName('b'.repeat(64), many()), undefined)
  assert.ok(compared <= 2_001, `${compared} names`)
  compared = 0
  assert.is(nearestName('a'.repeat(65), many()), undefined)
  assert.is(compared, 0)
})

test.run()
