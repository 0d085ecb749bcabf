import { testShortCampaign } from '../short_campaign.js'
import { delayedPower } from './delayed_power.js'

testShortCampaign(delayedPower)
