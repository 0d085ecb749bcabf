import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { runPackagesJob } from '../../examples/packages.js'
import { suite } from '../helpers/suite.js'

const test = suite('e2e/main_job')

const fromRoot = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url))

/** The complete file is beside the repository during development; elsewhere the test uses a sample. */
const whole = fromRoot('../shared/data/packages.ndjson.gz')
const sample = fromRoot('examples/data/packages_sample.ndjson.gz')

test(
  'every line is published and read by a group, although one member is killed halfway',
  async () => {
    const report = await runPackagesJob(existsSync(whole) ? whole : sample)
    assert.is(report.lines, existsSync(whole) ? 63_438 : 2_000)
    assert.is(report.missing, 0)
    assert.is(report.unknown, 0)
    assert.is(report.disordered, 0, 'order is kept for each key')
    assert.is(report.duplicatesOfAcknowledged, 0, 'only what was not acknowledged comes again')
    assert.ok(report.killedAfter > 0)
  },
  { deadlineMs: 120_000 },
)

test.run()
