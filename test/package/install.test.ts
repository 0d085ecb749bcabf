import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import * as assert from 'uvu/assert'
import { suite } from '../helpers/suite.js'

const test = suite('package/install')

const root = fileURLToPath(new URL('../../../', import.meta.url))
/** The oldest release of each line of Node.js that the package supports. */
const supported = ['20.19.0', '22.0.0', '24.0.0']

interface LockedPackage {
  readonly deprecated?: string
  readonly engines?: { readonly node?: string }
  readonly resolved?: string
}

async function lockedPackages(path: string): Promise<[string, LockedPackage][]> {
  const { packages } = JSON.parse(await readFile(`${root}${path}`, 'utf8')) as {
    packages: Record<string, LockedPackage>
  }
  return Object.entries(packages).filter(([name]) => name !== '')
}

type Version = readonly [major: number, minor: number, patch: number]

function parse(text: string): Version {
  const [major = 0, minor = 0, patch = 0] = text.split('.').map((part) => Number.parseInt(part, 10) || 0)
  return [major, minor, patch]
}

function compare(a: Version, b: Version): number {
  return a[0] - b[0] || a[1] - b[1] || a[2] - b[2]
}

/** Whether a range of package.json admits a version. @throws Error for a range that is not of the kinds seen so far */
function admits(range: string, version: string): boolean {
  return range.split('||').some((part) => {
    const comparators = part
      .trim()
      .replaceAll(/([<>=^~]) +/g, '$1')
      .split(/\s+/)
    return comparators.every((one) => admitsOne(one, parse(version)))
  })
}

function admitsOne(comparator: string, version: Version): boolean {
  const match = /^(>=|<=|>|<|=|\^|~)?v?(\d+(?:\.(?:\d+|x|\*))*|\*)$/.exec(comparator)
  if (match === null) throw new Error(`cannot read the range "${comparator}"`)
  const [, operator = '', text = ''] = match
  if (text === '*') return true
  const bound = parse(text)
  const order = compare(version, bound)
  if (operator === '>=') return order >= 0
  if (operator === '>') return order > 0
  if (operator === '<') return order < 0
  if (operator === '<=') return order <= 0
  const parts = text.split('.').filter((part) => /^\d+$/.test(part)).length
  const fixed = operator === '^' ? 1 : operator === '~' ? Math.min(parts, 2) : parts
  return order >= 0 && version.slice(0, fixed).every((part, index) => part === bound[index])
}

test('reads ranges of versions as npm does', () => {
  for (const [range, version, expected] of [
    ['>=20.19.0', '20.19.0', true],
    ['>= 22.x', '20.19.0', false],
    ['^20.19.0 || >=22.12.0', '22.0.0', false],
    ['^20.19.0 || >=22.12.0', '20.20.0', true],
    ['10.* || >= 12.*', '11.0.0', false],
    ['10.* || >= 12.*', '10.9.0', true],
    ['>=16 <21', '22.0.0', false],
    ['18', '18.5.0', true],
    ['~18.1', '18.2.0', false],
    ['*', '1.0.0', true],
  ] as const)
    assert.is(admits(range, version), expected, `${range} ${version}`)
})

test('each locked package supports each supported Node.js, and none is deprecated', async () => {
  const packages = await lockedPackages('package-lock.json')
  assert.ok(packages.length > 50)
  for (const [name, { deprecated, engines }] of packages) {
    assert.is(deprecated, undefined, `${name} is deprecated`)
    for (const version of supported)
      assert.ok(admits(engines?.node ?? '*', version), `${name} needs Node.js ${engines?.node}`)
  }
})

test('the project says which Node.js it supports', async () => {
  const { engines } = JSON.parse(await readFile(`${root}package.json`, 'utf8')) as LockedPackage
  for (const version of supported) assert.ok(admits(engines?.node ?? '', version), version)
  assert.not.ok(admits(engines?.node ?? '', '20.18.9'))
})

test('no lock file names the address of a registry', async () => {
  for (const path of ['package-lock.json', 'bench/peers/clients/package-lock.json'])
    for (const [name, { resolved }] of await lockedPackages(path)) assert.is(resolved, undefined, name)
})

test.run()
