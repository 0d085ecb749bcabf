import { deepStrictEqual, match } from 'node:assert/strict'
import { type CheckOptions, checkHistory } from '../checker.js'
import type { HandMade } from '../hand_made.js'
import type { HistoryRecord } from '../history.js'

/**
 * Asserts that exactly these checks reject the history, and the text of the first one's evidence; without names,
 * that it passes.
 */
export function expectFindings(
  history: HandMade,
  names: readonly string[],
  evidence?: RegExp,
  options?: CheckOptions,
): void {
  const verdict = checkHistory(history.events, options)
  deepStrictEqual([...new Set(verdict.findings.map(({ check }) => check))].sort(), [...names].sort())
  deepStrictEqual(verdict.verdict, names.length === 0 ? 'passed' : 'failed')
  if (evidence !== undefined)
    match(verdict.findings.find(({ check }) => check === names[0])?.evidence ?? '', evidence)
}

/** These values from offset 0 on. */
export function log(...values: readonly string[]): HistoryRecord[] {
  return values.map((value, offset) => [offset, value])
}
