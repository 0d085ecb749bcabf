import * as assert from 'uvu/assert'
import { Metrics } from '../../broker/metrics.js'
import { suite } from '../helpers/suite.js'

const test = suite('broker/metrics')

test('rates are averages over the last ten seconds', ({ defer }) => {
  let commits = 0
  const metrics = new Metrics(() => commits)
  defer(() => metrics.close())
  const startMs = performance.now() + 1_000
  for (let second = 0; second <= 30; second++) {
    metrics.sample(startMs + second * 1_000)
    metrics.publishedRecords += second < 20 ? 100 : 7
    commits += 2
  }
  const rates = metrics.rates(startMs + 30_000)
  assert.ok(rates.publishedRecords > 6 && rates.publishedRecords < 9, String(rates.publishedRecords))
  assert.ok(Math.abs(rates.commits - 2) < 0.5)
  assert.is(rates.fetchedBytes, 0)
})

test.run()
