import * as assert from 'uvu/assert'
import { compareReports, judge, renderComparison } from '../../bench/report/compare.js'
import { suite } from '../helpers/suite.js'
import { figure, report, reportWithPeers } from './report_fixture.js'

const test = suite('bench/compare')

test('with three runs reports a difference only outside the range of the other runs', () => {
  assert.is(judge([100, 101, 102], [110, 111, 112], 'higher'), 'better')
  assert.is(judge([100, 101, 102], [110, 111, 112], 'lower'), 'worse')
  assert.is(judge([100, 105, 111], [110, 120, 130], 'higher'), 'same')
})

test('with more runs compares ranks, so that one outlier does not hide a difference', () => {
  const before = [100, 101, 102, 103, 150]
  assert.is(judge(before, [120, 121, 122, 123, 124], 'higher'), 'same')
  assert.is(judge([...before, 104, 105], [120, 121, 122, 123, 124, 125, 126], 'higher'), 'better')
  assert.is(judge([100, 130, 110, 120], [105, 125, 115, 135], 'higher'), 'same')
})

test('does not judge small differences, or figures with fewer than three runs', () => {
  assert.is(judge([100, 100.1, 100.2], [102, 102.1, 102.2], 'higher'), 'same')
  assert.is(judge([100, 101], [200, 201, 202], 'higher'), 'unknown')
  assert.is(judge([0, 0, 0], [0, 0, 0], 'higher'), 'same')
  assert.is(judge([0, 0, 0], [1, 1, 1], 'lower'), 'worse')
})

test('compares figures that both reports have, by scenario, name and contender', () => {
  const before = reportWithPeers()
  const after = {
    ...before,
    figures: [
      figure({ scenario: 'peers', contender: 'redis', values: [50_000, 51_000, 52_000] }),
      figure({ scenario: 'new' }),
    ],
  }
  const comparison = compareReports(before, after)
  assert.equal(
    comparison.differences.map(({ verdict, change }) => [verdict, change]),
    [['worse', -0.49]],
  )
  assert.match(
    renderComparison(comparison),
    /publish, 100 B \(redis\) .* 100,000 .* 51,000 .* -49\.0 % \| WORSE/,
  )
  assert.match(renderComparison(compareReports(report({ figures: [] }), after)), /no figure in common/)
})

test('warns when machine, versions or settings differ, and not about the version of Millrace', () => {
  const before = report()
  const { machine, settings } = before
  assert.equal(compareReports(before, report()).warnings, [])
  const after = report({
    complete: false,
    machine: {
      ...machine,
      processors: 8,
      versions: { ...machine.versions, node: '22.0.0', millrace: '0.2.0' },
    },
    settings: { ...settings, runs: 5 },
  })
  assert.equal(compareReports(before, after).warnings, [
    'node was 20.20.2, is 22.0.0',
    'machine: processors was 2, is 8',
    'setting runs was 3, is 5',
    'the new run was interrupted',
  ])
})

test.run()
