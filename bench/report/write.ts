import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { renderHtml } from './html.js'
import { renderMarkdown } from './markdown.js'
import { type Report, renderJson } from './report.js'

export interface ReportTargets {
  /** A file for the JSON alone. */
  readonly json?: string
  /** A folder for report.json, report.html and report.md. */
  readonly report?: string
}

/**
 * Writes a report to its destination, synchronously, so that it works during an exit too.
 * @returns the files
 */
export function writeReports(report: Report, targets: ReportTargets): readonly string[] {
  const written: string[] = []
  const write = (file: string, text: string): void => {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text)
    written.push(file)
  }
  if (targets.json !== undefined) write(targets.json, renderJson(report))
  if (targets.report !== undefined) {
    write(join(targets.report, 'report.json'), renderJson(report))
    write(join(targets.report, 'report.md'), renderMarkdown(report))
    write(join(targets.report, 'report.html'), renderHtml(report))
  }
  return written
}
