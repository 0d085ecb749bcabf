import * as assert from 'uvu/assert'
import { connectionsAllowed, descriptorsMaxOfProcess } from '../../../broker/net/descriptors.js'
import { suite } from '../../helpers/suite.js'

const test = suite('broker/net/descriptors')

test('connections leave descriptors for the databases', () => {
  assert.is(connectionsAllowed(10_000, undefined), 10_000)
  assert.is(connectionsAllowed(10_000, 1_000_000), 10_000)
  assert.is(connectionsAllowed(10_000, 10_300), 10_000)
  assert.is(connectionsAllowed(10_000, 1_024), 724)
  assert.is(connectionsAllowed(500, 1_024), 500)
  assert.is(connectionsAllowed(10_000, 256), 128)
  assert.is(connectionsAllowed(10_000, 1), 1)
})

test('reads the limit of this process on Linux', ({ skip }) => {
  const limit = descriptorsMaxOfProcess()
  if (process.platform !== 'linux') skip('/proc is of Linux')
  assert.ok(limit === undefined || limit > 10, `${limit}`)
})

test.run()
