import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { runPackagesWork, type WorkReport } from '../../examples/work.js'
import { deadlineFactor } from '../helpers/engine_mode.js'
import { suite } from '../helpers/suite.js'

const test = suite('e2e/work')

const fromRoot = (path: string): string => fileURLToPath(new URL(`../../../${path}`, import.meta.url))

/** The complete file is beside the repository during development; elsewhere the test uses a sample. */
const whole = fromRoot('../shared/data/packages.ndjson.gz')
const sample = fromRoot('examples/data/packages_sample.ndjson.gz')

const file = existsSync(whole) ? whole : sample
const brokerKills = 20
const deadlineMs = 100_000 * deadlineFactor

function check(report: WorkReport, kills = 0): void {
  assert.is(report.lines, existsSync(whole) ? 63_438 : 2_000)
  assert.is(report.missing, 0)
  assert.is(report.wronglyDead, 0)
  assert.is(report.wronglyDone, 0)
  assert.is(report.deliveredAfterConfirmed, 0, 'only what was not confirmed comes again')
  assert.is(report.handledAgain.unexplained, undefined)
  assert.is(report.crashes, 2)
  // A worker that was frozen during a kill of its broker may lose its message without a notice.
  if (kills === 0) assert.ok(report.leasesLost > 0, 'one worker was late')
  const reasons = Object.keys(report.dead)
  assert.ok(reasons.includes('rejected: its licence forbids it'))
  assert.ok(reasons.includes('attempts: it cannot be indexed'))
  // The last attempt of a message that always fails may be in a worker that crashes.
  for (const reason of reasons) assert.match(reason, /^(rejected|attempts): ./)
  const dead = Object.values(report.dead).reduce((sum, count) => sum + count, 0)
  assert.is(report.done + dead, report.lines)
  assert.is(report.redriven, dead)
  assert.is(report.doneAfterRedrive, dead)
}

test(
  'every line is done or a dead letter with its reason, although workers crash, freeze, hang, fail and reply late',
  async () => check(await runPackagesWork(file, { deadlineMs })),
  { deadlineMs: 120_000 },
)

test(
  `the same with a broker that is killed ${brokerKills} times`,
  async () => check(await runPackagesWork(file, { brokerKills, deadlineMs }), brokerKills),
  { deadlineMs: 120_000 },
)

test.run()
