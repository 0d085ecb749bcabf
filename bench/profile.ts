import { readFile } from 'node:fs/promises'
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Prints where processor time goes. The workers of the bench inherit the flags of their parent:
 *
 *     node --cpu-prof --cpu-prof-dir=/tmp/profile dist/bench/main.js end-to-end
 *     node dist/bench/profile.js /tmp/profile/*.cpuprofile
 */

interface ProfileNode {
  readonly id: number
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
}

interface Profile {
  readonly nodes: readonly ProfileNode[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

const shownMax = 25
const root = fileURLToPath(new URL('..', import.meta.url))

async function main(paths: readonly string[]): Promise<void> {
  for (const path of paths) print(path, JSON.parse(await readFile(path, 'utf8')) as Profile)
}

function print(path: string, profile: Profile): void {
  const selfMs = selfTimeMs(profile)
  const totalMs = [...selfMs.values()].reduce((sum, ms) => sum + ms, 0)
  const idleMs = selfMs.get('(idle)') ?? 0
  console.log(`\n${scriptOf(profile)}  ${path}`)
  console.log(
    `${totalMs.toFixed(0)} ms, of which ${(totalMs - idleMs).toFixed(0)} ms busy; of the busy time:`,
  )
  const busiest = [...selfMs].filter(([name]) => name !== '(idle)').sort(([, a], [, b]) => b - a)
  for (const [name, ms] of busiest.slice(0, shownMax))
    console.log(`${((ms / (totalMs - idleMs)) * 100).toFixed(1).padStart(6)} %  ${name}`)
}

/** Self time by function. */
function selfTimeMs({ nodes, samples, timeDeltas }: Profile): Map<string, number> {
  const names = new Map(nodes.map((node) => [node.id, nameOf(node)]))
  const selfMs = new Map<string, number>()
  for (const [i, id] of samples.entries()) {
    const name = names.get(id) ?? '(unknown)'
    // A sample stands for the time until the next one.
    selfMs.set(name, (selfMs.get(name) ?? 0) + (timeDeltas[i + 1] ?? 0) / 1000)
  }
  return selfMs
}

function nameOf({ callFrame: { functionName, url, lineNumber } }: ProfileNode): string {
  const name = functionName === '' ? '(anonymous)' : functionName
  return url === '' ? name : `${name}  ${shownUrl(url)}:${lineNumber + 1}`
}

function shownUrl(url: string): string {
  return url.startsWith('file:') ? relative(root, fileURLToPath(url)) : url
}

/** The script of the process: the first one of the bench. */
function scriptOf({ nodes }: Profile): string {
  const scripts = nodes.map(({ callFrame }) => shownUrl(callFrame.url))
  return (
    scripts.find((script) =>
      /^bench\/(main|(sdk|pipe)\/(broker|publisher|producer|consumer|connections))\.js$/.test(script),
    ) ?? '(unknown)'
  )
}

await main(process.argv.slice(2))
