import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { runPackagesWork } from '../../examples/work.js'
import { suite } from '../helpers/suite.js'

const test = suite('e2e/work')

const fromRoot = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url))

/** The whole file stands beside the repository where it is developed; elsewhere a sample of it has to do. */
const whole = fromRoot('../shared/data/packages.ndjson.gz')
const sample = fromRoot('examples/data/packages_sample.ndjson.gz')

test(
  'every line is done or a dead letter with its reason, though workers crash, hang, fail and answer late',
  async () => {
    const report = await runPackagesWork(existsSync(whole) ? whole : sample)
    assert.is(report.lines, existsSync(whole) ? 63_438 : 2_000)
    assert.is(report.missing, 0)
    assert.is(report.doneAndDead, 0)
    assert.is(report.deliveredAfterConfirmed, 0, 'only what was not confirmed comes again')
    assert.is(report.crashes, 2)
    assert.equal(Object.keys(report.dead).sort(), [
      'attempts: it can not be indexed',
      'rejected: its licence forbids it',
    ])
    const dead = Object.values(report.dead).reduce((sum, count) => sum + count, 0)
    assert.is(report.done + dead, report.lines)
    assert.is(report.redriven, dead)
    assert.is(report.doneAfterRedrive, dead)
  },
  { deadlineMs: 120_000 },
)

test.run()
