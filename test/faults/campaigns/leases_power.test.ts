import { testShortCampaign } from '../short_campaign.js'
import { leasesPower } from './leases_power.js'

testShortCampaign(leasesPower)
