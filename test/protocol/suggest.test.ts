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

test('long names and long lists cost little', () => {
  const many = Array.from({ length: 20_000 }, (_, i) => `${'a'.repeat(60)}${i}`)
  const startMs = performance.now()
  for (let i = 0; i < 10; i++) nearestName('b'.repeat(64), many)
  assert.ok(performance.now() - startMs < 2_000)
  assert.is(nearestName('a'.repeat(65), many), undefined)
})

test.run()
