import * as assert from 'uvu/assert'
import { ByteBudget } from '../../../broker/net/byte_budget.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/net/byte_budget')

test('wakes waiters in order, as long as there is room', async () => {
  const budget = new ByteBudget(100)
  budget.add(150)
  assert.is(budget.isOver, true)
  const woken: string[] = []
  const waiter = (name: string, takes: number) => () => {
    woken.push(name)
    budget.add(takes)
  }
  budget.whenRoom(waiter('first', 10))
  budget.whenRoom(waiter('second', 90))
  budget.whenRoom(waiter('third', 10))
  budget.release(40)
  await Promise.resolve()
  assert.equal(woken, [])
  budget.release(60)
  await Promise.resolve()
  assert.equal(woken, ['first', 'second'])
  budget.release(90)
  await Promise.resolve()
  assert.equal(woken, ['first', 'second', 'third'])
})

test('a reserve is kept for callers that may use it, and they come first', async () => {
  const budget = new ByteBudget(100, 25)
  budget.add(100)
  const woken: string[] = []
  budget.whenRoom(() => woken.push('large'))
  budget.whenReserveHasRoom(() => woken.push('small'))
  budget.release(10)
  await Promise.resolve()
  assert.equal([woken, budget.isOver, budget.isTight], [['small'], false, true])
  budget.whenReserveHasRoom(() => woken.push('small again'))
  budget.release(20)
  await Promise.resolve()
  assert.equal(woken, ['small', 'small again', 'large'])
})

test('a removed waiter is not woken', async () => {
  const budget = new ByteBudget(10)
  const woken: number[] = []
  const callback = (): void => void woken.push(1)
  budget.add(10)
  budget.whenRoom(callback)
  budget.forget(callback)
  budget.release(10)
  await Promise.resolve()
  assert.equal(woken, [])
})

test.run()
